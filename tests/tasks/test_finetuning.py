"""Fine-tuning and prediction as a notebook does them: examples in memory, models of any length."""

import dataclasses

import pytest

from bert_jax.errors import UserError
from bert_jax.tasks import KINDS, FinetuningSettings, Predictor, finetune
from bert_jax.training.callbacks import Callback
from tests.tasks.examples import TASKS, TOKENIZER, tiny_pretrained

LENGTHY = " ".join(["the cats like how you left and are fine thanks"] * 20)


class Recorded(Callback):
    def __init__(self):
        self.losses, self.scores = [], []

    def on_step(self, step, metrics):
        self.losses.append(metrics["loss"])

    def on_evaluate(self, step, metrics):
        self.scores.append(metrics)


def small(**changes):
    return tiny_pretrained(num_hidden_layers=1, hidden_size=16, intermediate_size=32, **changes)


ROWS = {
    "classification": [("the cats left", "yes"), ("the dogs left", "no")] * 6,
    "regression": [{"text": "the cats", "pair": "left", "label": 0.5}, {"text": "you", "pair": "i",
                   "label": 1}] * 6,
    "tagging": [(["the", "cats"], ["O", "B-x"]), (["you"], ["O"])] * 6,
    "qa": [{"question": "Who?", "context": "the cats left",
            "answers": [{"text": "cats", "answer_start": 4}]}] * 12,
    "multiple_choice": [("how?", ["fine", "left"], 0), ("who?", ["left", "cats"], 1)] * 6,
}  # fmt: skip
ASKED = {
    "classification": "the cats left",
    "regression": ("the cats", "left"),
    "tagging": "the cats left",
    "qa": {"question": "Who?", "context": "the cats left"},
    "multiple_choice": {"question": "how?", "choices": ["fine", "left"]},
}


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS])
def test_examples_in_memory_are_learned_and_asked(tmp_path, kind):
    recorded = Recorded()
    settings = {"checkpoint": small(), "workdir": tmp_path / "run", "train": ROWS[kind],
                "epochs": 2, "batch_size": 8, "max_length": 24,
                "window_overlap": 4, "split_seed": 1}  # fmt: skip
    if kind == "qa":  # whole articles are held back
        settings["dev"] = ROWS[kind]
    if kind in ("classification", "tagging"):
        settings["dev"] = ROWS[kind][:2]
    result = finetune(kind, callbacks=[recorded], **settings)
    assert result.scores.keys() == {"dev"} and result.task.name == kind
    assert len(recorded.losses) == 2 * -(-result.figures["examples"]["train"] // 8)
    assert len(recorded.scores) == 2
    predictor = Predictor.from_pretrained(tmp_path / "run")
    assert type(predictor.task) is type(result.task)
    found = predictor([ASKED[kind]] * 3)
    assert len(found) == 3 and found[0] | {"id": 0} == found[2] | {"id": 0}
    # The same call finds all done; other settings are refused.
    again = finetune(kind, **settings)
    assert again.figures["scores"] == result.figures["scores"]
    with pytest.raises(UserError, match="got epochs=3, but the run in"):
        finetune(kind, **{**settings, "epochs": 3})


@pytest.mark.parametrize(
    ("kind", "positions"), [("classification", 20), ("tagging", 24), ("classification", 100)]
)
def test_a_model_works_up_to_its_own_length(tmp_path, kind, positions):
    words = LENGTHY.split()
    if kind == "tagging":
        train = [(words, ["A", "B"] * (len(words) // 2)), (["you"], ["A"])] * 4
    else:
        train = [(LENGTHY, "yes"), ("you", "no")] * 4
    finetune(
        kind, checkpoint=small(max_position_embeddings=positions), workdir=tmp_path / "run",
        train=train, dev=train[:2], epochs=1, batch_size=8, max_length=positions,
    )  # fmt: skip
    predictor = Predictor.from_pretrained(tmp_path / "run")
    long, short = predictor([LENGTHY, "you"])
    assert predictor(["you"])[0].keys() == short.keys()
    if kind == "tagging":
        assert len(long["tags"]) == len(words)


def test_a_stream_is_read_chunk_by_chunk(tmp_path):
    task, examples = TASKS["one text"]
    predictor = Predictor(
        dataclasses.replace(small(), architecture=task.head.architecture), task, chunk=2
    )
    read = []
    rows = predictor.stream(read.append(e.text) or e.text for e in examples)
    next(rows)
    assert len(read) == 2 and len(list(rows)) == 9


def test_mistakes_of_a_notebook(tmp_path):
    with pytest.raises(UserError, match="got epochs=0; expected at least 1"):
        FinetuningSettings(epochs=0)
    with pytest.raises(UserError, match=r"got seeds=\[1, 1\]"):
        FinetuningSettings(seeds=[1, 1])
    with pytest.raises(UserError, match="got 'sides' in `grid`; expected some of epochs"):
        FinetuningSettings(grid={"sides": [1]})
    settings = {"checkpoint": small(), "workdir": tmp_path / "run",
                "max_length": 24}  # fmt: skip
    with pytest.raises(UserError, match="got task=classification without `train`"):
        finetune("classification", **settings)
    with pytest.raises(UserError, match="got no examples"):
        finetune("classification", train=[], **settings)
    with pytest.raises(UserError, match=r"item 2: got 'b'; expected a dict with text, label"):
        finetune("classification", train=[("a", "x"), "b"], **settings)
    with pytest.raises(UserError, match="got max_length=65; expected at most the model's 64"):
        finetune("classification", **{**settings, "max_length": 65})
    task, _ = TASKS["one text"]
    predictor = Predictor(dataclasses.replace(small(), tokenizer=TOKENIZER), task)
    with pytest.raises(UserError, match=r"got the text 'yes'; expected a list of texts"):
        predictor("yes")
    with pytest.raises(UserError, match="item 2: got 5; expected a text"):
        predictor(["yes", 5])
