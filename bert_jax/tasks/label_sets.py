"""The labels of a text that may have several: columns of 0 and 1, a delimiter, or a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bert_jax.errors import UserError
from bert_jax.json_reading import shortened
from bert_jax.settings import names_in
from bert_jax.tasks.examples import Columns
from bert_jax.tasks.labels import label_key, label_names
from bert_jax.tasks.tables import Table

LabelSet = tuple[Any, ...] | dict[str, bool]
"""The labels there are, or of each that there may be whether it is there."""

_YES_OR_NO = {"1": True, "true": True, "0": False, "false": False}


def label_sets(table: Table, columns: Columns) -> list[LabelSet]:
    """The labels of each row of a table.

        label_columns=a,b        1, 0              ->  {"a": True, "b": False}
        label_delimiter=|        "a|b"             ->  ("a", "b")
        neither                  ["a", "b"], []    ->  ("a", "b"), ()

    Raises:
        UserError: a column is not there, or a value is none of these; names its line.
    """
    if names := names_in(columns.label_columns):
        others = [
            f" with {name}={value}"
            for name in ("label_column", "label_delimiter")
            if (value := getattr(columns, name))
        ]
        if others or len(set(names)) < len(names):
            raise UserError(
                f"got label_columns={','.join(names)}{''.join(others)}; expected a column for each"
                " label, each once, or one column of all"
            )
        values = [table.column(name, "label_columns") for name in names]
        return [
            {
                name: _yes_or_no(name, value, table.source, line)
                for name, value in zip(names, row, strict=True)
            }
            for row, line in zip(zip(*values, strict=True), table.lines, strict=True)
        ]
    column = table.column(columns.label_column or "label", "label_column")
    return [
        label_set(value, columns.label_delimiter, table.source, line)
        for value, line in zip(column, table.lines, strict=True)
    ]


def label_set(value: Any, delimiter: str | None, source: str, line: int) -> LabelSet:
    """The labels that a value stands for: a list, a set, a mapping, or a text that is cut.

    Args:
        value: as it stands in the data.
        delimiter: between the labels of a text; None cuts none.
        source, line: where it stands, for the error.

    Raises:
        UserError: it is none of these, or one of them is no label.
    """
    if isinstance(value, np.ndarray) and value.ndim == 1:
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(name): _yes_or_no(name, v, source, line) for name, v in value.items()}
    if isinstance(value, set | frozenset):
        value = sorted(value, key=str)
    if delimiter and isinstance(value, str):
        value = [piece.strip() for piece in value.split(delimiter) if piece.strip()]
    if not isinstance(value, list | tuple):
        raise UserError(
            f"{source}, line {line}: got label {value!r}; expected a list of labels, or a text with"
            " `label_delimiter` between them, or `label_columns`"
        )
    for each in value:
        if label_key(each) is None:
            raise UserError(
                f"{source}, line {line}: got {shortened(repr(each))} among the labels; expected a"
                " text or a number"
            )
    return tuple(value)


def labels_there(given: LabelSet) -> list[Any]:
    """The labels of a set, without those that are not there."""
    if isinstance(given, dict):
        return [name for name, there in given.items() if there]
    return list(given)


def set_names(sets: Sequence[LabelSet]) -> tuple[str, ...]:
    """The classes of these sets: columns in their order, else all labels, sorted."""
    columns = dict.fromkeys(name for given in sets if isinstance(given, dict) for name in given)
    return tuple(columns) or label_names(name for given in sets for name in given)


def _yes_or_no(name: Any, value: Any, source: str, line: int) -> bool:
    key = label_key(value)
    found = None if key is None else _YES_OR_NO.get(key.lower())
    if found is None:
        raise UserError(
            f"{source}, line {line}: got {name} = {shortened(repr(value))}; expected 0 or 1"
        )
    return found
