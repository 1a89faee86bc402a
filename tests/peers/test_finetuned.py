"""Fine-tuned models of every kind, opened by transformers with their names and their answers."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the peers suite needs torch")
transformers = pytest.importorskip("transformers", reason="the peers suite needs transformers")

from bert_jax.convert.huggingface import save_huggingface  # noqa: E402
from bert_jax.convert.pretrained import load_pretrained  # noqa: E402
from bert_jax.tasks.kinds import task_of  # noqa: E402
from tests.tasks.examples import TASKS, TOKENIZER, assert_says_the_same, save_finetuned  # noqa: E402

transformers.logging.set_verbosity_error()

AUTO = {
    "classification": transformers.AutoModelForSequenceClassification,
    "multi_label": transformers.AutoModelForSequenceClassification,
    "one text": transformers.AutoModelForSequenceClassification,
    "regression": transformers.AutoModelForSequenceClassification,
    "tagging": transformers.AutoModelForTokenClassification,
    "qa": transformers.AutoModelForQuestionAnswering,
    "multiple_choice": transformers.AutoModelForMultipleChoice,
    "similarity": transformers.AutoModel,
}
NO_POOLER = {"similarity": {"add_pooling_layer": False}}


@pytest.mark.parametrize("name", TASKS)
def test_a_fine_tuned_model_opens_there_and_says_the_same(tmp_path, name):
    task, examples = TASKS[name]
    said = save_finetuned(tmp_path / "ours", name)
    loaded = load_pretrained(tmp_path / "ours")
    assert task_of(loaded) == task
    save_huggingface(loaded, tmp_path / "theirs")
    assert type(task_of(load_pretrained(tmp_path / "theirs"))) is type(task)

    peer, info = AUTO[name].from_pretrained(
        tmp_path / "theirs", output_loading_info=True, **NO_POOLER.get(name, {})
    )
    assert not any(info.values()), info
    assert type(peer).__name__ == task.head.architecture
    if task.labels:
        assert tuple(peer.config.id2label.values()) == task.labels
    prepared = task.prepare(examples, TOKENIZER)
    features = prepared.features
    logits = np.concatenate(
        [
            _scores(peer.eval(), features.ids[begin:end], features.type_ids[begin:end])
            for begin, end in zip(features.starts, features.starts[1:], strict=False)
        ]
    )
    found = list(task.predictions(examples, prepared, logits))
    assert len(found) == len(said) == 10
    for theirs, ours in zip(found, said, strict=True):
        assert_says_the_same(theirs, ours)


def test_their_pipeline_gives_our_labels_from_the_text_itself(tmp_path):
    _, examples = TASKS["one text"]
    said = save_finetuned(tmp_path / "ours", "one text")
    save_huggingface(load_pretrained(tmp_path / "ours"), tmp_path / "theirs")
    pipeline = transformers.pipeline("text-classification", str(tmp_path / "theirs"), top_k=None)
    found = pipeline([example.text for example in examples])
    for theirs, ours in zip(found, said, strict=True):
        assert {row["label"]: row["score"] for row in theirs} == pytest.approx(ours["scores"])


@torch.no_grad()
def _scores(peer, ids, type_ids):
    """The logits of one sequence, [1, C] or [L, C], computed in float64."""
    inputs = {
        "input_ids": torch.tensor(ids, dtype=torch.long)[None],
        "token_type_ids": torch.tensor(type_ids, dtype=torch.long)[None],
    }
    if type(peer).__name__ == "BertForMultipleChoice":
        inputs = {name: array[None] for name, array in inputs.items()}
    output = peer.double()(**inputs)
    if "start_logits" in output:
        return torch.stack([output.start_logits, output.end_logits], dim=-1)[0].numpy()
    if "logits" not in output:  # the mean of an encoder's states
        return output.last_hidden_state.mean(dim=1).numpy()
    return output.logits.reshape(-1, output.logits.shape[-1]).numpy()
