"""Where examples come from: a file, a split of TFDS, rows in memory, or a line to be labelled."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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

    columns: tuple[str, ...] = setting(
        (), "Names for the columns of a TSV or CSV without a header line."
    )
    text_column: str | None = setting(None, "By default text; of multiple choice, question.")
    text_pair_column: str | None = setting(None, "A second text, for pairs.")
    label_column: str | None = setting(None, "By default label, answer, upos, or the last column.")
    choices_column: str = setting("choices", "Of multiple choice.")


@dataclass(frozen=True)
class Line:
    """A line of a file, or an item in memory, that is to be labelled.

    Attributes:
        source: the file, for errors.
        number: from 1.
        texts: what stands there, cut at the first tab; () of an object.
        content: of an object, its members.
    """

    source: str
    number: int
    texts: tuple[str, ...]
    content: Mapping[str, Any] | None = None

    @classmethod
    def parsed(cls, source: str, number: int, text: str) -> Line:
        """Read a line of text: an object where it begins with {.

        Raises:
            UserError: it begins so and is no JSON.
        """
        if not text.lstrip().startswith("{"):
            return cls(source, number, tuple(text.split("\t", 1)))
        try:
            return cls(source, number, (), json.loads(text))
        except json.JSONDecodeError as error:
            raise UserError(
                f"{source}, line {number}: got no JSON ({error.msg} at character {error.pos});"
                " expected an object, or a text that does not begin with {"
            ) from error

    @classmethod
    def of_item(cls, number: int, item: Any) -> Line:
        """A text, a pair of texts, or an object, as a notebook has it."""
        source = "the examples"
        if isinstance(item, Mapping):
            return cls(source, number, (), item)
        texts = (item,) if isinstance(item, str) else item
        if not isinstance(texts, tuple) or not texts or not all(isinstance(t, str) for t in texts):
            raise UserError(
                f"{source}, item {number}: got {item!r}; expected a text, a tuple of two, or a dict"
            )
        return cls(source, number, texts)

    def member(self, name: str, kind: type) -> Any:
        """A member of the object.

        Raises:
            UserError: it is not there, of another type, or empty.
        """
        value = (self.content or {}).get(name)
        if not isinstance(value, kind) or not value:
            raise UserError(
                f"{self.source}, line {self.number}: got {name} = {value!r}; expected a"
                f" {'text' if kind is str else 'list'} that is not empty"
            )
        return value

    def wanted(self, members: str) -> UserError:
        """The error of a text where there should be an object."""
        return UserError(
            f"{self.source}, line {self.number}: got a text; expected an object with {members}"
        )


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
