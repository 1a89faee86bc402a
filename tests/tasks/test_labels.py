"""Labels as people bring them: empty, spelled in two ways, to be left out; counted and said."""

import dataclasses
import json
import math

import pytest

from bert_jax.errors import UserError
from bert_jax.tasks import TextExample, finetune
from bert_jax.tasks.data import DataSettings, class_weights, read_task
from bert_jax.tasks.label_counts import label_counts, shown_counts
from bert_jax.tasks.labels import label_numbers
from bert_jax.tasks.report import Confusion, Points, only_answer
from bert_jax.tasks.texts import shown_example
from tests.tasks.examples import tiny_pretrained

WANTED = "expected a text or a number"


def of(train, **changes):
    settings = DataSettings(task="classification", train=train, dev=train, max_length=32)
    return read_task(dataclasses.replace(settings, **changes))


def written(folder, name, rows):
    """The same rows as CSV, TSV or JSON lines; or in memory."""
    if not name:
        return rows
    path, end = folder / name, name[-3:]
    if end == "onl":
        lines = [json.dumps(dict(zip(("text", "label"), row, strict=True))) for row in rows]
    else:
        between = "," if end == "csv" else "\t"
        lines = [f"text{between}label", *(f"{text}{between}{label}" for text, label in rows)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", ""])
def test_an_empty_label_is_refused_with_its_line(tmp_path, name):
    """As in cases/labels_empty.csv."""
    bad = written(tmp_path, name, [("a", "yes"), ("b", "no"), ("c", "")])
    line = 3 + name.endswith(("csv", "tsv"))
    with pytest.raises(UserError, match=rf"line {line}: got label ''; {WANTED}"):
        of(bad)
    good = written(tmp_path, f"good{name}" if name else "", [("a", "yes"), ("b", "no")])
    with pytest.raises(UserError, match=rf"line {line}: got label ''; {WANTED}"):
        of(good, test=bad)
    with pytest.raises(UserError, match=rf"line {line}: got label ''; {WANTED}"):
        of(bad, dev=None, dev_fraction=0.4)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, ["yes"], {"yes": 1}])
@pytest.mark.parametrize("name", ["a.jsonl", ""])
def test_what_is_no_label_is_refused_with_its_line(tmp_path, name, wrong):
    rows = [("a", "yes"), ("b", wrong), ("c", "no"), ("d", wrong)]
    with pytest.raises(UserError) as error:
        of(written(tmp_path, name, rows), dev=[("a", "yes")])
    assert str(error.value).endswith(f"line 2: got label {wrong!r}; {WANTED} (1 more are so)")


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_no_label_is_refused(tmp_path, task):
    rows = [("a", "1"), ("b", None), ("c", "2")]
    for name in ("a.jsonl", ""):
        with pytest.raises(UserError, match="line 2: got no label; expected a label"):
            of(written(tmp_path, name, rows), task=task)
    examples = [TextExample(text, None, label, "x", i) for i, (text, label) in enumerate(rows, 1)]
    with pytest.raises(UserError, match="x, line 2: got label None; expected"):
        of(examples, task=task)


def test_spellings_of_one_label_are_one_class_and_said(tmp_path):
    rows = [("a", 1), ("b", 1.0), ("c", "1"), ("d", "0"), ("e", "0"), ("f", " 0"), ("g", 1)]
    for name in ("a.jsonl", ""):
        data = of(written(tmp_path, name, rows), test=[("x", 0.0), ("y", "1.0")])
        assert data.task.labels == ("0", "1")
        assert label_counts(data.task, data.parts) == {
            "train": {"0": 3, "1": 4}, "dev": {"0": 3, "1": 4}, "test": {"0": 1, "1": 1},
        }  # fmt: skip
        (remark,) = data.remarks
        assert remark.said == (
            'treated as one label: 1 (4), 1.0 (2), "1" (2), "1.0" (1); "0" (4), " 0" (2), 0.0 (1)'
        )
        assert remark.figures["taken_together"][1] == {'"0"': 4, '" 0"': 2, "0.0": 1}
        balanced = class_weights(data.task, data.parts["train"], "balanced")
        assert balanced.tolist() == [7 / 6, 7 / 8]
        assert class_weights(data.task, data.parts["train"], "1.0:3").tolist() == [1, 3]
    assert of([("a", "yes"), ("b", "no")]).remarks == []


def test_labels_that_are_left_out_are_counted(tmp_path):
    """As in cases/snli_dash.jsonl."""
    rows = [("a man sleeps", "entailment"), ("a dog runs", "neutral"), ("a cat sits", "-")]
    for name in ("a.jsonl", "a.tsv", ""):
        data = of(written(tmp_path, name, rows), leave_out_labels=("-", "none"))
        assert data.task.labels == ("entailment", "neutral")
        assert len(data.parts["train"]) == 2
        (remark,) = data.remarks
        assert remark.said == (
            "left out, by label: - (1 of train, 1 of dev); none (0 of train, 0 of dev)"
        )
        assert remark.figures["left_out"]["train"] == {"-": 1, "none": 0}
    assert of(rows).task.labels == ("-", "entailment", "neutral") and of(rows).remarks == []
    numbers = [("a", "0.5"), ("b", "-1"), ("c", "nan")]
    data = of(numbers, task="regression", leave_out_labels="nan,-1.0")
    assert data.remarks[0].figures["left_out"]["train"] == {"nan": 1, "-1.0": 1}
    with pytest.raises(UserError, match="which leaves no example of `train`"):
        of(rows, leave_out_labels=["-", "entailment", "neutral"])


def test_a_table_of_counts():
    counts = {"train": {"no": 1000, "perhaps": 2}, "dev": {"no": 1, "perhaps": 0}}
    assert shown_counts(counts) == [
        "label    train  dev",
        "no        1000    1",
        "perhaps      2    0",
    ]
    many = {"train": {str(n): n for n in range(151)}}
    shown = shown_counts(many)
    assert shown[1] == "150      150" and shown[-1] == "and 131 more labels" and len(shown) == 22
    assert shown_counts({}) == []


def test_one_answer_to_everything_is_said():
    shown = [Points([]), Confusion(["yes", "no", "yes", "yes"], ["yes"] * 4)]
    assert only_answer(shown) == (
        "says 'yes' of everything in the development part: 1 of 4 are others"
    )
    assert only_answer([Confusion(["yes"] * 2, ["yes"] * 2)]) == ""
    assert only_answer([Confusion(["yes", "no"], ["no", "yes"])]) == ""


def test_a_run_shows_and_keeps_what_it_counted(tmp_path, capfd):
    rows = [("the cats left", " yes"), ("the dogs left", "yes"), ("you", "no"), ("i", "-")] * 4
    result = finetune(
        "classification", checkpoint=tiny_pretrained(num_hidden_layers=1), train=rows,
        dev=[*rows[:3], ("we", 'yes')], workdir=tmp_path / "run", epochs=1, batch_size=8,
        learning_rate=0.0, max_length=16, leave_out_labels="-",
    )  # fmt: skip
    kept = json.loads((tmp_path / "run" / "result.json").read_text())
    assert kept["labels"] == {"train": {"no": 4, "yes": 8}, "dev": {"no": 1, "yes": 3}}
    assert kept["data"]["left_out"] == {"train": {"-": 4}, "dev": {"-": 0}}
    assert kept["output_layer"] == {
        "kept": False, "said": "the output layer is new: the checkpoint has none",
    }  # fmt: skip
    errors = capfd.readouterr().err
    for line in (
        'treated as one label: "yes" (6), " yes" (5)',
        "left out, by label: - (4 of train, 0 of dev)",
        "label  train  dev\nno         4    1\nyes        8    3",
        kept["output_layer"]["said"],
        *kept["remarks"],
    ):
        assert f"{line}\n" in errors
    said = {row["label"] for row in result.predictions["dev"]}
    assert len(kept["remarks"]) == (len(said) == 1)
    if len(said) == 1:
        assert kept["remarks"][0].startswith(f"seed 0 says {said.pop()!r} of everything")


def test_labels_that_differ_only_in_capitals_stay_apart_and_are_said():
    rows = [("a", "Yes"), ("b", "yes"), ("c", "no"), ("d", "yes")]
    data = of(rows)
    assert data.task.labels == ("Yes", "no", "yes")
    (remark,) = data.remarks
    assert remark.said == "classes of their own that differ only in capitals: Yes (2), yes (4)"
    assert remark.figures == {"differ_in_capitals": [{"Yes": 2, "yes": 4}]}
    tagged = [(["a", "b"], ["B-per", "B-PER"])]
    assert "capitals: B-PER (2), B-per (2)" in of(tagged, task="tagging").remarks[1].said


def test_the_empty_label_is_left_out_by_name_as_its_error_says():
    rows = [("a", "yes"), ("b", "no"), ("c", "")]
    with pytest.raises(UserError, match=r"got label ''; .* \(leave_out_labels=, leaves out the "):
        of(rows)
    (remark,) = of(rows, leave_out_labels=",").remarks
    assert remark.said == "left out, by label: '' (1 of train, 1 of dev)"


@pytest.mark.parametrize("spelled", ["3", " -3.5e0 ", "+.5", "2.", "1E3", 3, 2.5])
def test_what_is_a_number(spelled):
    data = of([("a", spelled), ("b", "0")], task="regression")
    (truth,) = label_numbers([data.parts["train"][0].label], "x", [1])
    assert truth == float(spelled)


@pytest.mark.parametrize("spelled", ["1_000", "٣", "３", "0x10", "1e", ".", "2,11", "1 000", "inf"])
def test_what_is_no_number(spelled):
    with pytest.raises(UserError) as error:
        of([("a", spelled), ("b", "0")], task="regression")
    comma = " with a decimal point, where this has a comma" * ("," in spelled)
    assert f"line 1: got label {spelled!r}; expected a number{comma} (1 more" in str(error.value)


def test_the_truth_of_a_number_is_a_number():
    example = TextExample("a", None, " 2.50", "x", 1)
    assert shown_example(example, of_numbers=True) == {"text": "a", "truth": 2.5}
    assert shown_example(example) == {"text": "a", "truth": " 2.50"}
