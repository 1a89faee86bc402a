"""From settings to a task and its examples: which source is read how, and what is held back."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax.arguments import MOST_SEED
from bert_jax.data.counter_rng import shuffled, stream_key
from bert_jax.errors import UserError
from bert_jax.settings import names_in, setting
from bert_jax.tasks.classification import Classification
from bert_jax.tasks.examples import Cleaning, Columns, Remark, Source
from bert_jax.tasks.glue import GlueTask, glue_task
from bert_jax.tasks.kinds import KINDS
from bert_jax.tasks.label_counts import alike_in_letters, label_counts
from bert_jax.tasks.labels import label_key
from bert_jax.tasks.question_answering.squad_files import read_tfds_questions
from bert_jax.tasks.question_answering.task import QuestionAnswering
from bert_jax.tasks.regression import Regression
from bert_jax.tasks.tables import semicolons
from bert_jax.tasks.task import Task
from bert_jax.tasks.texts import text_examples
from bert_jax.tasks.tfds import read_tfds_table, tfds_label_names

_SPLIT_STREAM = 12
_SQUAD = ("squad", "squad/v2.0")


@dataclass(frozen=True)
class DataSettings(Columns, Cleaning):
    """What is learned, and from what."""

    task: str = setting(
        "",
        "What to learn: classification, multi_label, regression, qa, tagging, multiple_choice,"
        " similarity, glue/NAME, squad, …",
    )
    train: Source | None = setting(
        None, "Training examples: a file or tfds:NAME:SPLIT; in Python, also a list."
    )
    dev: Source | None = setting(
        None,
        "Development examples, to choose the best checkpoint; by default split off from train.",
    )
    test: Source | None = setting(
        None, "Test examples, scored once, at the end, with the best checkpoint."
    )
    dev_fraction: float = setting(0.1, "Share of train to hold out when there is no dev.")
    test_fraction: float = setting(
        0.0, "Share of train to hold out when there is no test; 0: no test."
    )
    split_seed: int = setting(
        0, "Random seed that chooses the examples to hold out.", least=0, most=MOST_SEED
    )
    max_length: int = setting(
        128,
        "Longest sequence, in tokens; longer texts are truncated (qa: cut into windows).",
        least=5,
    )
    window_overlap: int | None = setting(
        None,
        "qa: overlap between two windows of a long text, in tokens; by default a third of"
        " max_length.",
        least=0,
    )


@dataclass(frozen=True)
class TaskData:
    """A task and the examples of its parts: `train`, `dev`, perhaps `test` and others."""

    task: Task
    parts: dict[str, list[Any]]
    columns: Columns
    """Of the files it is about, for prediction."""
    remarks: Sequence[Remark] = ()
    """What to say of them before anything is learned."""


def read_task(settings: DataSettings) -> TaskData:
    """Read all parts and find out the classes.

    Raises:
        UserError: an unknown task, a source that is not there or not as it should be.
    """
    kind = next((kind for kind in KINDS if kind.name == settings.task), None)
    for name in ("dev_fraction", "test_fraction"):
        if not 0 <= getattr(settings, name) < 1:
            raise UserError(
                f"got {name}={getattr(settings, name)}; expected a share of at least 0 and below 1"
            )
    _check_options(settings, kind)
    if kind is None:
        return _read_named(settings)
    if settings.train is None or settings.train == "":
        raise UserError(
            f"got task={settings.task} without `train`; expected examples to learn from"
        )
    parts = {"train": kind.read(settings.train, settings)}
    for name, source in (("dev", settings.dev), ("test", settings.test)):
        if source is not None and source != "":
            parts[name] = kind.read(source, settings)
    parts, left_out = kind.cleaned(parts, settings)
    parts = _held_out(settings, parts)
    task = kind.of_examples(parts, settings.max_length, settings.window_overlap)
    alike = alike_in_letters(label_counts(task, parts))
    remarks = [*_separated(settings, kind), *task.remarks(parts), *alike, *left_out]
    return TaskData(task, parts, _columns(settings, parts["train"]), remarks)


def _check_options(settings: DataSettings, kind: type[Task] | None) -> None:
    """Refuse what is said of the data and means nothing to this kind of task."""
    usual = DataSettings()
    for name in sorted(frozenset().union(*(each.options for each in KINDS))):
        value = getattr(settings, name)
        if value in (getattr(usual, name), "") or (kind is not None and name in kind.options):
            continue
        kinds = ", ".join(each.name for each in KINDS if name in each.options)
        several = isinstance(getattr(usual, name), tuple)
        shown = ",".join(map(str, names_in(value))) if several else value
        raise UserError(
            f"got {name}={shown} for task={settings.task}; expected it for a task of {kinds} only"
        )


def _separated(settings: DataSettings, kind: type[Task]) -> list[Remark]:
    """What to say of CSV files that have semicolons for commas."""
    if settings.columns or ".csv" not in kind.endings:
        return []
    sources = (settings.train, settings.dev, settings.test)
    paths = dict.fromkeys(str(each) for each in sources if each and isinstance(each, str | Path))
    found = [path for path in paths if semicolons(path)]
    said = f"fields are separated by semicolons: {', '.join(found)}"
    return [Remark(said, {"semicolons": found})] if found else []


def _columns(settings: DataSettings, examples: Sequence[Any]) -> Columns:
    """The columns of the settings; pairs in memory have theirs by another name."""
    columns = Columns(**settings.named())
    paired = any(getattr(example, "pair", None) is not None for example in examples)
    pair = (columns.text_pair_column or "pair") if paired else None
    return dataclasses.replace(columns, text_pair_column=pair)


def _read_named(settings: DataSettings) -> TaskData:
    """A data set that TFDS has under its name."""
    if settings.task.startswith("glue/"):
        return _read_glue(settings, glue_task(settings.task.removeprefix("glue/")))
    if settings.task in _SQUAD:
        parts = {
            part: read_tfds_questions(settings.task, split)
            for part, split in (("train", "train"), ("dev", "validation"))
        }
        task = QuestionAnswering.of_examples(parts, settings.max_length, settings.window_overlap)
        return TaskData(task, parts, Columns())
    names = ", ".join(kind.name for kind in KINDS)
    raise UserError(
        f"got task={settings.task}; expected one of {names}, glue/NAME, {', '.join(_SQUAD)}"
    )


def _read_glue(settings: DataSettings, glue: GlueTask) -> TaskData:
    splits = {"train": "train", "dev": glue.dev_split}
    splits |= {split: split for split in glue.other_splits}
    parts = {
        name: text_examples(
            read_tfds_table(settings.task, split), glue.text_column, glue.pair_column, "label"
        )
        for name, split in splits.items()
    }
    columns = Columns(
        text_column=glue.text_column, text_pair_column=glue.pair_column, label_column="label"
    )
    if glue.regression:
        return TaskData(Regression(settings.max_length, glue.scores), parts, columns)
    # In GLUE's own order: F1 is that of class 1.
    names = tfds_label_names(settings.task, "label")
    task = Classification(names, settings.max_length, glue.scores)
    return TaskData(task, parts, columns)


def _held_out(settings: DataSettings, parts: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Cut the parts that were not given from the training part, whole articles of questions."""
    train = parts["train"]
    groups = [getattr(example, "article", number) for number, example in enumerate(train)]
    names = list(dict.fromkeys(groups))
    order = [names[i] for i in shuffled(stream_key(_SPLIT_STREAM, settings.split_seed), len(names))]
    for name, fraction in (("dev", settings.dev_fraction), ("test", settings.test_fraction)):
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
            f"got {len(train)} examples in `train`, dev_fraction={settings.dev_fraction} and"
            f" test_fraction={settings.test_fraction}; expected `dev`, or enough to hold some out"
        )
    return {**parts, "train": kept}


def class_weights(task: Task, train: Sequence[Any], text: str) -> np.ndarray | None:
    """Weights of the classes: none, `balanced`, or `name:weight` pairs; absent names weigh 1.

    Balanced, all classes weigh the same together (`Head.balance`); of multi-label classification,
    the examples with a class as much as those without it.

    Args:
        task: which classes there are.
        train: the examples that are learned.
        text: what is wanted; empty for none.

    Raises:
        UserError: the task has no classes, or not these.
    """
    if not text:
        return None
    if not task.labels:
        raise UserError(f"got class_weights={text}; expected none: the task has no classes")
    if text == "balanced":
        given = Counter(task.given_labels(train))
        return task.head.balance(np.array([given[name] for name in task.labels]), len(train))
    weights = dict.fromkeys(map(label_key, task.labels), 1.0)
    for part in text.split(","):
        name, _, weight = part.rpartition(":")
        key = label_key(name)
        try:
            value = float(weight)
        except ValueError:
            value = -1.0
        if key not in weights or value < 0:
            raise UserError(
                f"got class_weights={text}; expected balanced, or name:weight pairs of"
                f" {', '.join(task.labels)}"
            )
        weights[key] = value
    return np.array(list(weights.values()))
