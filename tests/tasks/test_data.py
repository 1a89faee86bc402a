"""From flags to tasks and parts."""

import dataclasses

import numpy as np
import pytest

from bert_jax.tasks.classification import Classification
from bert_jax.tasks.data import DataSettings, class_weights, read_task
from bert_jax.tasks.glue import GLUE
from bert_jax.tasks.question_answering.task import QuestionAnswering
from bert_jax.tasks.regression import Regression
from bert_jax.tasks.tagged_files import TaggedSentence
from bert_jax.tasks.tagging import Tagging
from tests.experiments.finetuning import write_texts

tfds = pytest.importorskip("tensorflow_datasets")

FLAGS = DataSettings(
    task="classification", train=None, dev=None, test=None, columns=(), text_column="text",
    text_pair_column=None, label_column=None, choices_column="choices", max_length=32,
    window_overlap=None, dev_fraction=0.1, test_fraction=0.2, split_seed=0,
)  # fmt: skip


def of(**changes):
    return read_task(dataclasses.replace(FLAGS, **changes))


def test_every_task_of_glue_by_name_with_its_own_score():
    with tfds.testing.mock_data(num_examples=2):
        for name, glue in GLUE.items():
            data = of(task=f"glue/{name}")
            assert data.parts.keys() == {"train", "dev", *glue.other_splits}
            assert all(len(examples) == 2 for examples in data.parts.values())
            assert type(data.task) is (Regression if glue.regression else Classification)
            assert data.task.score_names == glue.scores
        assert data.task.labels == ("not_entailment", "entailment")  # WNLI, in GLUE's order
        squad = of(task="squad", max_length=384)
        assert squad.task == QuestionAnswering(384, 128) and len(squad.parts["dev"]) == 2


def test_what_is_not_given_is_held_back_by_the_seed(tmp_path):
    write_texts(tmp_path)
    train = str(tmp_path / "train.tsv")
    data, again, other = (of(train=train, split_seed=seed) for seed in (1, 1, 2))
    assert {name: len(part) for name, part in data.parts.items()} == {
        "train": 67, "dev": 10, "test": 19,
    }  # fmt: skip
    lines = {name: {example.line for example in part} for name, part in data.parts.items()}
    assert set.union(*lines.values()) == set(range(2, 98))
    assert again.parts == data.parts and other.parts != data.parts
    assert len(of(train=train, dev=train).parts["dev"]) == 96
    assert data.task.labels == ("cats", "dogs")


def test_a_tag_that_training_lacks_is_known(tmp_path):
    (tmp_path / "train.conll").write_text("a A\nb B\n")
    (tmp_path / "dev.conll").write_text("c C\n")
    data = of(task="tagging", train=str(tmp_path / "train.conll"), dev=str(tmp_path / "dev.conll"),
              test_fraction=0.0)  # fmt: skip
    assert data.task.labels == ("A", "B", "C")


def test_class_weights():
    tagged = [TaggedSentence(("a", "b", "c", "d"), ("X", "X", "X", "Y"), (1, 2, 3, 4))]
    task = Tagging(("X", "Y"), 8)
    np.testing.assert_allclose(class_weights(task, tagged, "balanced"), [4 / 6, 4 / 2])
    np.testing.assert_array_equal(class_weights(task, tagged, "Y:2.5"), [1, 2.5])
    assert class_weights(task, tagged, "") is None


def test_a_file_with_semicolons_for_commas_is_said_to_have_them(tmp_path):
    (tmp_path / "a.csv").write_text("text;label\nyes, please;1\nno;2\n")
    (tmp_path / "b.csv").write_text("text,label\nyes,1\n")
    asked = {"train": str(tmp_path / "a.csv"), "dev": tmp_path / "b.csv", "max_length": 16}
    data = read_task(DataSettings(task="classification", **asked))
    assert [each.text for each in data.parts["train"]] == ["yes, please", "no"]
    (remark,) = data.remarks
    assert remark.said == f"fields are separated by semicolons: {tmp_path / 'a.csv'}"
    assert remark.figures == {"semicolons": [str(tmp_path / "a.csv")]}
