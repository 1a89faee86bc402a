"""Labels: from what stands in the data to numbers, and the names to show for them."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bert_jax.errors import UserError


def label_names(values: Iterable[Any]) -> tuple[str, ...]:
    """Return the distinct labels as texts, sorted; whole numbers by their value.

    ["neutral", "yes", "no", "yes"]  ->  ("neutral", "no", "yes")
    [10, 2, 2]                       ->  ("2", "10")
    """
    names = {_name(value) for value in values}
    if all(name.removeprefix("-").isdecimal() for name in names):
        return tuple(sorted(names, key=int))
    return tuple(sorted(names))


def label_ids(
    values: Sequence[Any], names: Sequence[str], source: str, lines: Sequence[int]
) -> np.ndarray:
    """Return the number of each label in `names`, int32 [n].

    Args:
        values: as they stand in the data.
        names: the classes, from `label_names` of the training part.
        source: the file, for the error.
        lines: where each value stands.

    Raises:
        UserError: a label that is not among the names, with the first bad line's number.
    """
    numbers = {name: number for number, name in enumerate(names)}
    ids = np.empty(len(values), np.int32)
    for i, value in enumerate(values):
        number = numbers.get(_name(value))
        if number is None:
            raise UserError(
                f"{source}, line {lines[i]}: got label {_name(value)!r}; expected one of"
                f" {', '.join(names)}"
            )
        ids[i] = number
    return ids


def label_numbers(values: Sequence[Any], source: str, lines: Sequence[int]) -> np.ndarray:
    """Return the labels of a regression, float32 [n].

    Raises:
        UserError: a label that is no finite number, with the first bad line's number.
    """
    numbers = np.empty(len(values), np.float32)
    for i, value in enumerate(values):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise UserError(f"{source}, line {lines[i]}: got label {value!r}; expected a number")
        numbers[i] = number
    return numbers


def _name(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).strip()
