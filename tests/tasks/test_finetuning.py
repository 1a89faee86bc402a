"""Fine-tuning and prediction as a notebook does them: examples in memory, models of any length."""

import dataclasses
import json

import pytest

from bert_jax.errors import UserError
from bert_jax.tasks import KINDS, FinetuningSettings, Predictor, finetune
from bert_jax.tasks.examples import Columns
from bert_jax.tasks.lines import Line, LineError
from bert_jax.tasks.report_page import write_report
from bert_jax.tasks.tagged_files import sentences_of
from bert_jax.tasks.unlabelled import read_unlabelled
from bert_jax.training.callbacks import Callback
from tests.tasks.examples import TASKS, TOKENIZER, assert_says_the_same, tiny_pretrained

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
    "multi_label": [("the cats left", ["cats", "left"]), ("the dogs", []), ("you", {"you"})] * 4,
    "classification": [("the cats left", "yes"), ("the dogs left", "no")] * 6,
    "regression": [{"text": "the cats", "pair": "left", "label": 0.5}, {"text": "you", "pair": "i",
                   "label": 1}] * 6,
    "tagging": [(["the", "cats"], ["O", "B-x"]), (["you"], ["O"])] * 6,
    "qa": [{"question": "Who?", "context": "the cats left",
            "answers": [{"text": "cats", "answer_start": 4}]}] * 12,
    "multiple_choice": [("how?", ["fine", "left"], 0), ("who?", ["left", "cats"], 1)] * 6,
    "similarity": [("the cats", "cats", 5), ("you", "the dogs left", 1)] * 6,
}  # fmt: skip
ASKED = {
    "multi_label": "the cats left",
    "classification": "the cats left",
    "regression": ("the cats", "left"),
    "tagging": "the cats left",
    "qa": {"question": "Who?", "context": "the cats left"},
    "multiple_choice": {"question": "how?", "choices": ["fine", "left"]},
    "similarity": ("the cats", "left"),
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


@pytest.mark.parametrize(
    ("tags", "said", "scheme", "main"),
    [
        (["O", "B"], "tags mark entities in BIO without kinds: models are chosen by entity F1",
         {"name": "BIO", "separator": "", "kind_first": False, "others": []}, "entity_f1"),
        (["X", "PER_S"], "tags mark entities in BIOES (kind_LETTER); X as O: models are chosen by",
         {"name": "BIOES", "separator": "_", "kind_first": True, "others": ["X"]}, "entity_f1"),
        (["DET", "NOUN"], "tags mark no entities (DET, NOUN, PRON): no entity F1, models are chosen"
         " by accuracy\n", None, "accuracy"),
    ],
)  # fmt: skip
def test_how_tags_are_read_is_said_and_kept(tmp_path, capsys, tags, said, scheme, main):
    rows = [(["the", "cats"], tags), (["you"], ["PRON" if main == "accuracy" else "O"])] * 6
    result = finetune(
        "tagging", checkpoint=small(), workdir=tmp_path / "run", train=rows, dev=rows[:2],
        epochs=1, batch_size=8, max_length=24,
    )  # fmt: skip
    assert said in capsys.readouterr().err
    figures = json.loads((tmp_path / "run" / "result.json").read_text())
    assert figures["data"] == {"tag_scheme": scheme}
    assert next(iter(result.scores["dev"])) == main
    assert list(result.figures["grid"][0]) == [f"dev_{main}"]


def test_bad_answers_are_found_or_left_out_said_and_counted(tmp_path, capsys):
    def asked(text, start):
        answer = {"text": text, "answer_start": start}
        return {"question": "Who?", "context": "the cats left", "answers": [answer]}

    rows = [asked("cats", 4), asked("cats", 3), asked("cows", 4)] * 3
    settings = {"checkpoint": small(), "workdir": tmp_path / "run", "train": rows,
                "dev": rows[:2], "epochs": 1, "batch_size": 8, "max_length": 24,
                "window_overlap": 4}  # fmt: skip
    with pytest.raises(
        UserError, match=r"item 3: got answer 'cows' .* \(3 of 9 answers are not fou"
    ):
        finetune("qa", **settings)
    assert not (tmp_path / "run").exists()
    result = finetune("qa", bad_answers="skip", **settings)
    said = capsys.readouterr().err
    assert "answers: train, 3 stand up to 32 characters from where they are said to" in said
    assert "; 3 are not found and left out, with 3 questions; dev, 1 stand up to" in said
    assert result.figures["examples"] == {"train": 6, "dev": 2}
    assert result.figures["data"]["answers"] == {
        "train": {"answers_found_nearby": 3, "answers_left_out": 3, "questions_left_out": 3},
        "dev": {"answers_found_nearby": 1, "answers_left_out": 0, "questions_left_out": 0},
    }


def test_a_stream_is_read_chunk_by_chunk(tmp_path):
    task, examples = TASKS["one text"]
    predictor = Predictor(
        dataclasses.replace(small(), architecture=task.head.architecture), task, chunk=2
    )
    read = []
    rows = predictor.stream(read.append(e.text) or e.text for e in examples)
    next(rows)
    assert len(read) == 2 and len(list(rows)) == 9


def predictor_of(name, **settings):
    task, _ = TASKS[name]
    model = dataclasses.replace(small(), architecture=task.head.architecture)
    return Predictor(model, task, chunk=3, **settings)


def test_texts_and_pairs_in_any_order_are_answered_as_alone():
    predictor = predictor_of("classification")
    asked = ["the cats", ("the cats", "left"), {"text": "you", "pair": None}, ("you", "i"), "i"]
    together = predictor(asked)
    for item, row in zip(asked, together, strict=True):
        assert_says_the_same(row, predictor([item])[0])


@pytest.mark.parametrize("name", TASKS)
def test_a_wrong_example_is_marked_and_the_others_are_answered(name):
    predictor = predictor_of(name)
    good = ASKED[TASKS[name][0].name]
    found = predictor([good, 5, good, good, {"nothing": 1}], "mark")
    answers = predictor([good])
    for place in (0, 2, 3):
        assert_says_the_same(found[place] | {"id": 0}, answers[0] | {"id": 0})
    assert found[1] == {
        "item": 2,
        "error": "the examples, item 2: got 5; expected a text, a tuple of two, or a dict",
    }
    assert found[4]["item"] == 5 and "item 5: got" in found[4]["error"]
    stream = predictor.stream([good, good, 5])
    assert len([next(stream), next(stream)]) == 2
    with pytest.raises(UserError, match="item 3: got 5"):
        next(stream)


def test_a_question_that_leaves_no_room_is_named_or_marked():
    long = {"question": "how are you " * 20, "context": "the cats left"}
    asked = [ASKED["qa"], long, ASKED["qa"]]
    predictor = predictor_of("qa")
    found = predictor(asked, "mark")
    assert [sorted(row.keys() & {"error", "answer"}) for row in found] == [
        ["answer"], ["error"], ["answer"],
    ]  # fmt: skip
    message = "the examples, item 2: got max_length=24 with window_overlap=4; expected more room"
    assert found[1]["item"] == 2 and found[1]["error"].startswith(message)
    stream = predictor.stream(asked)
    assert next(stream) == found[0]
    with pytest.raises(UserError, match=message):
        next(stream)


def test_text_that_is_no_unicode_is_learned_and_written(tmp_path):
    rows = [("the cats \ud800", "yes"), ("the dogs", "no")] * 6
    result = finetune(
        "classification", checkpoint=small(), workdir=tmp_path / "run", train=rows, dev=rows,
        epochs=1, batch_size=8, max_length=24,
    )  # fmt: skip
    assert result.predictions["dev"][0]["text"] == "the cats \ud800"  # escaped in the file
    assert '"text": "the cats \\ud800"' in (tmp_path / "run/predictions_dev.jsonl").read_text()
    write_report(result.workdir, result.task, result.predictions, result.figures, result.curves)
    assert "\ufffd" in (tmp_path / "run/report.html").read_text()


def test_the_columns_of_training_are_remembered(tmp_path):
    rows = [("the cats", "left", "yes"), ("the dogs", "left", "no")] * 6
    settings = {"checkpoint": small(), "epochs": 1, "batch_size": 8, "max_length": 24}
    finetune("classification", workdir=tmp_path / "a", train=rows, dev=rows[:2], **settings)
    assert Predictor.from_pretrained(tmp_path / "a").columns == Columns(text_pair_column="pair")
    (tmp_path / "x.tsv").write_text("\n".join("\t".join(row) for row in rows))
    finetune(
        "classification", workdir=tmp_path / "b", train=str(tmp_path / "x.tsv"), dev=rows[:2],
        columns=("text", "pair", "label"), text_pair_column="pair", **settings,
    )  # fmt: skip
    predictor = Predictor.from_pretrained(tmp_path / "b", columns={"text_column": "pair"})
    assert predictor.columns == Columns(
        columns=("text", "pair", "label"), text_column="pair", text_pair_column="pair"
    )


TAGGED = {
    "a.conll": "the DT O\ncats NN B-who\n\nyou PR O\n",
    "b.conll": "the\ncats\n\nyou\n",
    "c.conllu": "".join(
        f"{n}\t{word}" + "\t_" * 8 + "\n" + "\n" * (n == 2)
        for n, word in ((1, "the"), (2, "cats"), (1, "you"))
    ),
    "d.txt": "the cats\n\nyou\n",
    "e.jsonl": '{"words": ["the", "cats"]}\n\n{"words": ["you"]}\n',
}


@pytest.mark.parametrize("name", TAGGED)
def test_a_tagger_reads_columns_and_sentences(tmp_path, name):
    task, _ = TASKS["tagging"]
    path = tmp_path / name
    path.write_text(TAGGED[name])
    found = list(read_unlabelled(task, str(path), None))
    words = [task.example(line, None).words for line in found]
    assert words == [("the", "cats"), ("you",)]
    assert found[1].number == (3 if name in ("d.txt", "e.jsonl") else 4)


def test_a_no_break_space_is_a_part_of_its_word(tmp_path):
    task, _ = TASKS["tagging"]
    (tmp_path / "a.txt").write_text("10\u00a0000  Euro\u3000yes\n")
    (line,) = read_unlabelled(task, str(tmp_path / "a.txt"), None)
    assert task.example(line, None).words == ("10\u00a0000", "Euro", "yes")


@pytest.mark.parametrize(
    ("name", "item", "message"),
    [
        ("tagging", {"words": ["the", 5]}, r"got words = \['the', 5\]; expected a list of texts"),
        ("tagging", {"words": "the"}, "got words = 'the'; expected a list that is not empty"),
        ("multiple_choice", {"question": "how?", "choices": ["fine", None]}, "expected a list of"),
        ("multiple_choice", {"question": "how?", "choices": ["a"]}, "expected a list of at least"),
        ("qa", {"question": "who?", "context": 5}, "got context = 5; expected a text"),
        ("classification", {"text": "who?", "pair": 5}, "got pair = 5; expected a text, or none"),
    ],
)
def test_values_that_are_no_text_are_refused(name, item, message):
    task, _ = TASKS[name]
    with pytest.raises(LineError, match=f"the examples, item 3: .*{message}"):
        task.example(Line.of_item(3, item), None)


@pytest.mark.parametrize("wrong", [(["the", 5], ["O", "O"]), (None, ["O"]), (["the"], None),
                                   ("the", "OOO"), ([], []), (["the"], ["O", "O"])])  # fmt: skip
def test_sentences_that_are_none_are_refused(wrong):
    with pytest.raises(UserError, match=r"the examples, item 2: got .*; expected a list of words"):
        sentences_of([(["the"], ["O"]), wrong], Columns())


def test_columns_that_seem_a_sentence_a_line_are_refused(tmp_path):
    task, _ = TASKS["tagging"]
    path = tmp_path / "a.txt"
    path.write_text("cats NN B-who\nleft VB O\n")
    with pytest.raises(UserError, match=r"line 1: got 'cats NN B-who', which ends in the label"):
        next(read_unlabelled(task, str(path), None))
    assert len(list(read_unlabelled(task, str(path), None, "lines"))) == 2
    assert len(list(read_unlabelled(task, str(path), None, "training"))) == 1
    path.write_text("cats\tB-who\nleft\tO\n")
    with pytest.raises(UserError, match="line 2: got 2 fields between tabs; expected words"):
        task.example(list(read_unlabelled(task, str(path), None, "lines"))[1], None)
    wrong = tmp_path / "b.conll"
    wrong.write_bytes(b"the O\ncats\n\n\xff O\n\nyou O\n")
    found = list(read_unlabelled(task, str(wrong), None))
    assert [type(each) for each in found] == [LineError, LineError, Line]
    assert [each.number for each in found] == [2, 4, 6]


def test_the_questions_of_squad_are_asked(tmp_path):
    task, _ = TASKS["qa"]
    path = tmp_path / "a.json"
    asked = {"id": "x", "question": "Who?", "answers": [{"text": "cats", "answer_start": 0}]}
    paragraph = {"context": "the cats left", "qas": [asked]}
    path.write_text(json.dumps({"data": [{"title": "T", "paragraphs": [paragraph]}]}))
    (line,) = read_unlabelled(task, str(path), None)
    question = task.example(line, None)
    assert (question.id, question.question, question.answers) == ("x", "Who?", ())


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


def test_the_commit_of_a_model_from_the_hub_is_written_down(tmp_path, monkeypatch):
    fetched = dataclasses.replace(small(), origin="owner/name@c0ffee")
    monkeypatch.setattr("bert_jax.tasks.finetuning.load_pretrained", lambda *_, **__: fetched)
    monkeypatch.setattr("bert_jax.tasks.finetuning.run_seed", lambda *_, **__: None)
    given = {"train": ROWS["classification"], "dev": ROWS["classification"], "max_length": 24}
    for checkpoint, commit in (("owner/name", "c0ffee"), (tmp_path, None), (fetched, None)):
        run = tmp_path / str(commit) / type(checkpoint).__name__
        for _ in range(2):  # made, and gone on with
            finetune("classification", checkpoint=checkpoint, workdir=run, **given)
        assert json.loads((run / "config.json").read_text()).get("commit") == commit
    fetched = dataclasses.replace(fetched, origin="owner/name@decaf")
    run = tmp_path / "c0ffee" / "str"
    with pytest.raises(UserError, match="commit"):
        finetune("classification", checkpoint="owner/name", workdir=run, **given)
