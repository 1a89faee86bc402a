"""Several classes at once: how they are read, what is learned, the threshold, and the scores."""

import dataclasses
import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn import metrics

from bert_jax.convert.huggingface import save_huggingface
from bert_jax.convert.ours import save_ours
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.errors import UserError
from bert_jax.tasks import Predictor, TextExample, finetune
from bert_jax.tasks.data import DataSettings, class_weights, read_task
from bert_jax.tasks.kinds import task_of
from bert_jax.tasks.label_counts import label_counts
from bert_jax.tasks.multi_label import MultiLabel, best_threshold, set_sums
from bert_jax.tasks.report import only_answer
from tests.tasks.examples import TASKS, TOKENIZER, tiny_pretrained

SETS = [("a",), ("a", "b"), ()]


def of(train, **changes):
    settings = DataSettings(task="multi_label", train=train, dev=train, max_length=32)
    return read_task(dataclasses.replace(settings, **changes))


def sets_of(data, part="train"):
    return [tuple(data.task.given_labels([example])) for example in data.parts[part]]


def written(folder, name, content):
    (folder / name).write_text(content)
    return str(folder / name)


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("a.csv", "text,a,b\nx,1,0\ny,1.0,true\nz,0,False\n", {"label_columns": ("a", "b")}),
        ("b.tsv", "text\tlabel\nx\ta\ny\ta| b|a\nz\t\n", {"label_delimiter": "|"}),
        ("c.tsv", "text\tlabel\nx\ta\ny\tb a\nz\t \n", {"label_delimiter": " "}),
        ("d.jsonl", '{"text": "x", "label": ["a"]}\n{"text": "y", "label": ["b", "a"]}\n'
         '{"text": "z", "label": []}\n', {}),
        ("e.jsonl", '{"text": "x", "of": "a"}\n{"text": "y", "of": "b,a"}\n'
         '{"text": "z", "of": ""}\n', {"label_delimiter": ",", "label_column": "of"}),
    ],
)  # fmt: skip
def test_one_set_a_row_in_every_form(tmp_path, name, content, columns):
    data = of(written(tmp_path, name, content), **columns)
    assert data.task == MultiLabel(("a", "b"), 32)
    assert sets_of(data) == SETS


def test_sets_in_memory():
    forms = [
        [("x", ["a"]), ("y", {"b", "a"}), ("z", ())],
        [{"text": "x", "label": {"a": 1, "b": 0}}, {"text": "y", "label": np.array(["a", "b"])},
         {"text": "z", "label": frozenset()}],
        [TextExample(t, None, s, "", 1) for t, s in zip("xyz", SETS, strict=True)],
        [("x", "second", ["a"]), ("y", "second", ["a", "b"]), ("z", "second", [])],
    ]  # fmt: skip
    for rows in forms:
        data = of(rows)
        assert data.task.labels == ("a", "b") and sets_of(data) == SETS
    rows = [("x", 1, 0, 0), ("y", True, 1.0, 0), ("z", 0, "0", 0)]
    data = of(rows, label_columns="a,b,never")
    assert data.task.labels == ("a", "b", "never") and sets_of(data) == SETS
    assert label_counts(data.task, data.parts)["train"] == {"a": 2, "b": 1, "never": 0}
    assert of([("x", [1, "2.0"]), ("y", [" 1", 2])]).task.labels == ("1", "2")


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([("x", "a|b")], {}, "line 1: got label 'a|b'; expected a list of labels, or a text with"),
        ([("x", ["a"]), ("y", None)], {}, "line 2: got label None; expected a list of labels"),
        ([("x", ["a", ""])], {}, "line 1: got '' among the labels; expected a text or a number"),
        ([("x", ["a", ["b"]])], {}, "got ['b'] among the labels"),
        ([("x", ())], {}, "got no labels in the examples; expected at least one"),
        ([("x", 1, 0.5)], {"label_columns": ("a", "b")}, "line 1: got b = 0.5; expected 0 or 1"),
        ([("x", 1, "")], {"label_columns": ("a", "b")}, "line 1: got b = ''; expected 0 or 1"),
        ([("x", 1, 0)], {"label_columns": ("a", "a")}, "got label_columns=a,a; expected a column"),
        ([("x", 1, 0)], {"label_columns": ("a", "b"), "label_delimiter": "|"},
         "got label_columns=a,b with label_delimiter=|; expected a column for each label"),
        ([("x", 1)], {"task": "classification", "label_delimiter": "|"},
         "got label_delimiter=| for task=classification; expected it for a task of multi_"),
        ([("x", 1)], {"task": "glue/cola", "label_columns": ("a", "b")},
         "got label_columns=a,b for task=glue/cola"),
    ],
)  # fmt: skip
def test_what_is_no_set_is_refused_with_its_line(rows, columns, message):
    with pytest.raises(UserError) as error:
        of(rows, **columns)
    assert message in str(error.value)


def test_a_label_that_training_lacks_is_refused_in_another_part():
    task = of([("x", ["a"])]).task
    with pytest.raises(UserError, match="the examples, line 2: got label 'b'; expected one of a"):
        task.prepare(of([("x", ["a"]), ("y", ["b"])]).parts["train"], TOKENIZER)


def test_sets_with_a_label_that_is_left_out():
    data = of([("x", ["a"]), ("y", ["a", "-"]), ("z", [])], leave_out_labels="-")
    assert sets_of(data) == [("a",), ()]
    assert data.remarks[0].figures == {"left_out": {"train": {"-": 1}, "dev": {"-": 1}}}


def test_the_loss_and_the_weights_by_hand():
    logits = np.zeros((2, 1, 2), np.float32)
    logits[0, 0] = np.log(3), -np.log(3)
    batch = {"labels": jnp.array([[[1.0, 1.0]], [[0, 0]]]), "weights": jnp.array([[1.0], [0.0]])}
    sums = set_sums(logits, batch, 1, None)
    assert float(sums["nats"]) == pytest.approx((np.log(4 / 3) + np.log(4)) / 2)
    assert float(sums["weight"]) == 1.0
    sums = set_sums(logits, batch, 1, jnp.array([1.0, 3.0]))
    assert float(sums["nats"]) == pytest.approx((np.log(4 / 3) + 3 * np.log(4)) / 2)
    data = of([("x", 1, 0, 1), ("y", 1, 0, 1), ("z", 0, 0, 1)], label_columns="a,b,c")
    train = data.parts["train"]
    np.testing.assert_allclose(class_weights(data.task, train, "balanced"), [1 / 2, 3, 1 / 3])
    np.testing.assert_array_equal(class_weights(data.task, train, "b:2"), [1, 2, 1])


def matrices(low, high):
    shape = st.tuples(st.integers(1, 6), st.integers(1, 4))
    return shape.flatmap(
        lambda s: st.tuples(
            *(
                st.lists(st.integers(low, high), min_size=s[0] * s[1], max_size=s[0] * s[1]).map(
                    lambda values: np.array(values).reshape(s)
                )
                for _ in range(2)
            )
        )
    )


@settings(deadline=None)
@given(matrices(0, 4))
def test_no_threshold_is_better_than_the_one_that_is_chosen(pair):
    probabilities, labels = (pair[0] + 0.5) / 5, pair[1] % 2

    def f1(threshold):
        said = (probabilities > threshold).ravel()
        return metrics.f1_score(labels.ravel(), said, zero_division=0)

    found = best_threshold(probabilities, labels)
    better = [t for t in np.linspace(0, 1, 11) if f1(t) > f1(found) + 1e-12]
    assert not better
    assert found == 0.5 or f1(0.5) < f1(found)


def test_thresholds_by_hand():
    one = np.array([[0.9, 0.4], [0.3, 0.2]])
    assert best_threshold(one, np.array([[1, 1], [0, 0]])) == pytest.approx(0.35)
    assert best_threshold(one, np.array([[1, 0], [0, 0]])) == 0.5
    assert best_threshold(one, np.ones((2, 2))) == pytest.approx(0.1)
    assert best_threshold(one, np.zeros((2, 2))) == 0.5
    assert best_threshold(np.full((2, 2), 0.7), np.ones((2, 2))) == 0.5


@settings(deadline=None, max_examples=30)
@given(matrices(0, 1))
def test_scores_are_scikit_learns(pair):
    said, labels = pair
    task = MultiLabel(tuple("abcd"[: labels.shape[1]]), 24)
    examples = [
        TextExample("yes", None, dict(zip(task.labels, map(bool, row), strict=True)), "", 1)
        for row in labels
    ]
    scores = task.scores(
        examples, task.prepare(examples, TOKENIZER), (said - 0.5).astype(np.float32)
    )
    columns = [
        metrics.f1_score(t, s, zero_division=0) for t, s in zip(labels.T, said.T, strict=True)
    ]
    assert scores == pytest.approx(
        {
            "micro_f1": metrics.f1_score(labels.ravel(), said.ravel(), zero_division=0),
            "macro_f1": np.mean(columns),
            "subset_accuracy": np.mean((labels == said).all(axis=1)),
        }
    )
    assert next(iter(scores)) == "micro_f1"


def test_the_threshold_is_chosen_kept_and_used(tmp_path):
    rows = [("the cats left", ["cats", "left"]), ("the dogs", []), ("you", {"you"})] * 4
    result = finetune(
        "multi_label", checkpoint=tiny_pretrained(num_hidden_layers=1), train=rows, dev=rows[:3],
        workdir=tmp_path / "run", epochs=1, batch_size=8, max_length=16, class_weights="balanced",
    )  # fmt: skip
    probabilities = np.array([list(row["scores"].values()) for row in result.predictions["dev"]])
    labels = np.array([[1, 1, 0], [0, 0, 0], [0, 0, 1]])
    assert result.task.threshold == best_threshold(probabilities, labels) != 0.5
    assert result.predictions["dev"][0]["truth"] == ["cats", "left"]
    assert result.figures["labels"]["dev"] == {"cats": 1, "left": 1, "you": 1}
    predictor = Predictor.from_pretrained(tmp_path / "run")
    assert predictor.task == result.task
    for row in predictor(["the cats left", "you"]):
        above = [name for name, p in row["scores"].items() if p > result.task.threshold]
        assert row["labels"] == above
    save_ours(load_pretrained(tmp_path / "run"), tmp_path / "copied")
    assert Predictor.from_pretrained(tmp_path / "copied").task == result.task
    assert save_huggingface(load_pretrained(tmp_path / "run"), tmp_path / "exported") == (
        f"left out: what fine-tuning chose (max_length 16, threshold {result.task.threshold}), kept"
        " by our own form alone",
    )
    content = json.loads((tmp_path / "exported" / "config.json").read_text())
    assert content["problem_type"] == "multi_label_classification"
    assert content["id2label"] == {"0": "cats", "1": "left", "2": "you"}
    assert Predictor.from_pretrained(tmp_path / "exported").task.threshold == 0.5


def test_a_set_in_memory_is_the_same_in_every_process(tmp_path):
    code = (
        "from bert_jax.tasks import FinetuningSettings\n"
        "rows = [('x', {'a', 'b', 'c', 'd'}), ('y', [frozenset({'e', 'f', 'g'})])]\n"
        "print(FinetuningSettings(train=rows).written()['train'])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "JAX_PLATFORMS": "cpu"},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(said) == 1


def classifier(count, problem_type):
    zeros = np.zeros((32, count), np.float32)
    params = {**tiny_pretrained().params, "classifier": {"kernel": zeros, "bias": zeros[0]}}
    return dataclasses.replace(
        tiny_pretrained(), params=params, problem_type=problem_type,
        architecture="BertForSequenceClassification",
    )  # fmt: skip


def test_equal_logits_are_a_half_each_where_the_checkpoint_is_multi_label(tmp_path):
    save_huggingface(classifier(4, "multi_label_classification"), tmp_path / "theirs")
    (row,) = Predictor.from_pretrained(tmp_path / "theirs")(["the cats left"])
    assert row["scores"] == {f"LABEL_{i}": 0.5 for i in range(4)} and row["labels"] == []
    save_huggingface(classifier(4, "single_label_classification"), tmp_path / "single")
    (row,) = Predictor.from_pretrained(tmp_path / "single")(["the cats left"])
    assert row["scores"] == {f"LABEL_{i}": 0.25 for i in range(4)}


@pytest.mark.parametrize(
    ("count", "problem_type", "kind"),
    [
        (1, None, "regression"), (3, None, "classification"),
        (1, "regression", "regression"), (1, "multi_label_classification", "multi_label"),
        (3, "multi_label_classification", "multi_label"),
        (2, "single_label_classification", "classification"),
    ],
)  # fmt: skip
def test_what_a_checkpoint_says_it_is_for_is_obeyed(count, problem_type, kind):
    assert task_of(classifier(count, problem_type)).name == kind


@pytest.mark.parametrize(
    ("count", "problem_type"),
    [(3, "regression"), (1, "single_label_classification"), (2, "token_classification")],
)
def test_what_no_task_does_is_said(count, problem_type):
    with pytest.raises(UserError) as error:
        task_of(classifier(count, problem_type))
    assert f"problem_type={problem_type} of {count} scores" in str(error.value)


def test_what_a_report_shows():
    task, examples = TASKS["multi_label"]
    logits = np.where(task.prepare(examples, TOKENIZER).features.labels > 0, 3.0, -3.0)
    logits[7] = -3, -1, 3  # of B and C one is missed
    rows = list(task.predictions(examples, task.prepare(examples, TOKENIZER), logits))
    table, mistakes = task.shown(rows)
    assert table.rows[1] == ("B", "3", "2", "1.000", "0.667", "0.800")
    (mistake,) = mistakes.found
    assert mistake.measure == pytest.approx(1 - expit(-1))
    assert (mistake.truth, mistake.predicted) == ("B, C", "C")
    assert only_answer([table]) == ""
    none = list(task.predictions(examples, task.prepare(examples, TOKENIZER), 0 * logits - 3))
    assert only_answer(task.shown(none)) == (
        "says 'no label' of everything in the development part: 9 of 10 are others"
    )
