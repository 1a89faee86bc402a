"""From the flags of fine-tuning to a task and its examples: which file is read how."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bert_jax.data.counter_rng import shuffled, stream_key
from bert_jax.errors import UserError
from bert_jax.tasks.answer_task import QuestionAnswering
from bert_jax.tasks.choice_files import read_choices
from bert_jax.tasks.choice_task import MultipleChoice
from bert_jax.tasks.glue import glue_task
from bert_jax.tasks.labels import label_names
from bert_jax.tasks.squad_files import read_squad
from bert_jax.tasks.tables import read_table
from bert_jax.tasks.tag_task import Tagging
from bert_jax.tasks.tagged_files import read_columns, read_conllu
from bert_jax.tasks.task import Task
from bert_jax.tasks.text_tasks import Classification, Regression, text_examples
from bert_jax.tasks.tfds_tables import (
    read_tfds_questions,
    read_tfds_table,
    read_tfds_tags,
    tfds_label_names,
)

KINDS = ("classification", "regression", "qa", "tagging", "multiple_choice")
_SPLIT_STREAM = 12


@dataclass(frozen=True)
class DataFlags:
    """The flags that say what is read; names are those of the flags."""

    task: str
    train: str | None
    dev: str | None
    test: str | None
    columns: tuple[str, ...]
    text_column: str
    text_pair_column: str | None
    label_column: str | None
    choices_column: str
    max_length: int
    window_overlap: int | None
    dev_fraction: float
    test_fraction: float
    split_seed: int


@dataclass(frozen=True)
class TaskData:
    """A task and the examples of its parts: `train`, `dev`, perhaps `test` and others."""

    task: Task
    parts: dict[str, list[Any]]


def read_task(flags: DataFlags) -> TaskData:
    """Read all parts and find out the classes.

    Raises:
        UserError: an unknown task, a file that is not there or not as it should be.
    """
    _check(flags)
    if flags.task.startswith("glue/"):
        return _read_glue(flags)
    if flags.task.startswith("squad"):
        train = read_tfds_questions(flags.task, "train")
        dev = read_tfds_questions(flags.task, "validation")
        return TaskData(_answering(flags, train), {"train": train, "dev": dev})
    if not flags.train:
        raise UserError(f"got --task={flags.task} without --train; expected a file to learn from")
    parts = {"train": read_examples(flags, flags.train)}
    for name, path in (("dev", flags.dev), ("test", flags.test)):
        if path:
            parts[name] = read_examples(flags, path)
    parts = _held_out(flags, parts)
    return TaskData(_task(flags, parts), parts)


def read_examples(flags: DataFlags, path: str, labelled: bool = True) -> list[Any]:
    """Read one part.

    Args:
        flags: how.
        path: a file, or `tfds:NAME:SPLIT`.
        labelled: whether labels are there and wanted.
    """
    name, split = _tfds_name(path)
    label = flags.label_column if labelled else None
    if flags.task == "qa":
        return read_tfds_questions(name, split) if name else read_squad(path)
    if flags.task == "multiple_choice":
        return read_choices(
            path,
            text_column=flags.text_column,
            choices_column=flags.choices_column,
            label_column=label or ("answer" if labelled else None),
        )
    if flags.task == "tagging":
        if name:
            return read_tfds_tags(name, split, flags.text_column, flags.label_column or "ner")
        if path.removesuffix(".gz").endswith(".conllu"):
            return read_conllu(path, flags.label_column or "upos")
        return read_columns(path, _column_number(flags.label_column))
    table = read_tfds_table(name, split) if name else read_table(path, flags.columns or None)
    label = label or ("label" if labelled else None)
    return text_examples(table, flags.text_column, flags.text_pair_column, label)


def _task(flags: DataFlags, parts: dict[str, list[Any]]) -> Task:
    train = parts["train"]
    if flags.task == "classification":
        labels = label_names(example.label for example in train)
        if len(labels) < 2:
            raise UserError(
                f"got the label {labels[0]!r} only in {flags.train}; expected at least two classes"
            )
        return Classification(labels, flags.max_length)
    if flags.task == "regression":
        return Regression(flags.max_length)
    if flags.task == "tagging":
        # Of all parts: a rare tag that training lacks is a mistake of the model, not of the user.
        sentences = itertools.chain.from_iterable(parts.values())
        tags = label_names(tag for sentence in sentences for tag in sentence.tags)
        return Tagging(tags, flags.max_length)
    if flags.task == "qa":
        return _answering(flags, train)
    return MultipleChoice(flags.max_length)


def _answering(flags: DataFlags, train: Sequence[Any]) -> QuestionAnswering:
    overlap = flags.window_overlap
    return QuestionAnswering(
        flags.max_length,
        flags.max_length // 3 if overlap is None else overlap,
        may_have_none=any(not question.answers for question in train),
    )


def _read_glue(flags: DataFlags) -> TaskData:
    glue = glue_task(flags.task.removeprefix("glue/"))
    splits = {"train": "train", "dev": glue.dev_split}
    splits |= {split: split for split in glue.other_splits}
    parts = {
        name: text_examples(
            read_tfds_table(flags.task, split), glue.text_column, glue.pair_column, "label"
        )
        for name, split in splits.items()
    }
    if glue.regression:
        return TaskData(Regression(flags.max_length, glue.scores), parts)
    # In GLUE's own order: F1 is that of class 1.
    names = tfds_label_names(flags.task, "label")
    return TaskData(Classification(names, flags.max_length, glue.scores), parts)


def _held_out(flags: DataFlags, parts: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Cut the parts that were not given from the training part, whole articles of questions."""
    train = parts["train"]
    groups = [getattr(example, "article", number) for number, example in enumerate(train)]
    names = list(dict.fromkeys(groups))
    order = [names[i] for i in shuffled(stream_key(_SPLIT_STREAM, flags.split_seed), len(names))]
    for name, fraction in (("dev", flags.dev_fraction), ("test", flags.test_fraction)):
        if name in parts or not fraction:
            continue
        count = max(1, round(fraction * len(names)))
        taken, order = set(order[:count]), order[count:]
        chosen = [e for e, group in zip(train, groups, strict=True) if group in taken]
        parts = {**parts, name: chosen}
    left = set(order)
    kept = [e for e, group in zip(train, groups, strict=True) if group in left]
    if not kept or "dev" not in parts:
        raise UserError(
            f"got {len(train)} examples in {flags.train}, --dev_fraction={flags.dev_fraction} and"
            f" --test_fraction={flags.test_fraction}; expected --dev, or enough to hold some back"
        )
    return {**parts, "train": kept}


def class_weights(task: Task, data: TaskData, text: str) -> np.ndarray | None:
    """Weights of the classes: none, `balanced`, or `name:weight` pairs; absent names weigh 1.

    Balanced, each class weighs n / (C · its count), so that all weigh the same together.
    """
    if not text:
        return None
    if not task.labels:
        raise UserError(f"got --class_weights={text}; expected none: the task has no classes")
    train = data.parts["train"]
    if text == "balanced":
        given = [
            label
            for example in train
            for label in (example.tags if hasattr(example, "tags") else (str(example.label),))
        ]
        counts = np.array([max(given.count(name), 1) for name in task.labels])
        return len(given) / (len(task.labels) * counts)
    weights = dict.fromkeys(task.labels, 1.0)
    for part in text.split(","):
        name, _, weight = part.rpartition(":")
        try:
            value = float(weight)
        except ValueError:
            value = -1.0
        if name not in weights or value < 0:
            raise UserError(
                f"got --class_weights={text}; expected balanced, or name:weight pairs of"
                f" {', '.join(task.labels)}"
            )
        weights[name] = value
    return np.array(list(weights.values()))


def _check(flags: DataFlags) -> None:
    known = flags.task in KINDS or flags.task.startswith("glue/")
    if not known and flags.task not in ("squad", "squad/v2.0"):
        raise UserError(
            f"got --task={flags.task}; expected one of {', '.join(KINDS)}, glue/NAME, squad,"
            " squad/v2.0"
        )
    for name in ("dev_fraction", "test_fraction"):
        if not 0 <= getattr(flags, name) < 1:
            raise UserError(
                f"got --{name}={getattr(flags, name)}; expected a share of at least 0 and below 1"
            )


def _tfds_name(path: str) -> tuple[str, str]:
    if not path.startswith("tfds:"):
        return "", ""
    name, _, split = path.removeprefix("tfds:").rpartition(":")
    if not name:
        raise UserError(f"got {path}; expected tfds:NAME:SPLIT, as in tfds:ag_news_subset:train")
    return name, split


def _column_number(column: str | None) -> int:
    if column is None:
        return -1
    try:
        return int(column)
    except ValueError:
        raise UserError(
            f"got --label_column={column} for a file of columns; expected a number from 0, or -1"
            " for the last"
        ) from None
