"""Where examples come from: a file, a split of TFDS, or rows in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bert_jax.errors import UserError
from bert_jax.settings import setting
from bert_jax.tasks.tables import Table, read_table, table_of_rows
from bert_jax.tasks.tfds import read_tfds_table

Source = str | Path | Sequence[Any]
"""The path of a file, `tfds:NAME:SPLIT`, or examples in memory: mappings with the columns' names,
tuples in their order, or examples as a kind of task has them."""


@dataclass(frozen=True)
class Columns:
    """What the columns of a source are called; None leaves it to the kind of task."""

    columns: tuple[str, ...] = setting((), "Column names, for a TSV or CSV without a header line.")
    text_column: str | None = setting(
        None, "Column of the text; by default text, or question for multiple choice."
    )
    text_pair_column: str | None = setting(None, "Column of the second text, for sentence pairs.")
    label_column: str | None = setting(
        None, "Column of the label; by default label, answer, upos, or the last column."
    )
    label_columns: tuple[str, ...] = setting(
        (), "multi_label: columns of 0 and 1, one per label, instead of label_column."
    )
    label_delimiter: str | None = setting(
        None, "multi_label: what separates the labels of a text, such as |."
    )
    choices_column: str = setting("choices", "multiple_choice: column of the choices.")

    def named(self) -> dict[str, Any]:
        """JSON-able, these fields, whatever a subclass has beside them."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(Columns)}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in found.items()}


@dataclass(frozen=True)
class Cleaning:
    """What becomes of examples that cannot be learned; see `Task.options`."""

    leave_out_labels: tuple[str, ...] = setting(
        (), "Leave out, and count, examples with these labels, such as SNLI's -."
    )
    bad_answers: str = setting(
        "refuse",
        "qa, when the context does not contain the answer: refuse to start, or skip the question.",
        choices=("refuse", "skip"),
    )


@dataclass(frozen=True)
class Remark:
    """What a user should know of the data before it is learned.

    Attributes:
        said: one line.
        figures: the same, JSON-able, by name, for `result.json`.
    """

    said: str
    figures: dict[str, Any]


def tfds_split(source: Source) -> tuple[str, str] | None:
    """Name and split of `tfds:NAME:SPLIT`; None of any other source.

    Raises:
        UserError: one of the two is missing.
    """
    if not isinstance(source, str) or not source.startswith("tfds:"):
        return None
    name, _, split = source.removeprefix("tfds:").rpartition(":")
    if not name:
        raise UserError(f"got {source}; expected tfds:NAME:SPLIT, as in tfds:ag_news_subset:train")
    return name, split


def in_memory(source: Source) -> Sequence[Any] | None:
    """The rows of a source in memory; None of a file or a split.

    Raises:
        UserError: there are none.
    """
    if isinstance(source, str | Path):
        return None
    if not len(source):
        raise UserError("got no examples; expected at least one")
    return source


def table_of(source: Source, columns: Sequence[str], usual: Sequence[str]) -> Table:
    """Any source as a table.

    Args:
        source: see `Source`.
        columns: names for the columns of a file without a header line, or of tuples.
        usual: what columns of tuples are called where `columns` is empty.
    """
    if (rows := in_memory(source)) is not None:
        return table_of_rows(rows, columns or usual)
    if (split := tfds_split(source)) is not None:
        return read_tfds_table(*split)
    assert isinstance(source, str | Path)
    return read_table(source, columns or None)
