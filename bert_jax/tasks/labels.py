"""Labels: from what stands in the data to numbers, and the names to show for them."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bert_jax.errors import UserError

_WHOLE = re.compile(r"(-?[0-9]+)\.0+")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def label_key(value: Any) -> str | None:
    """What tells a label from others; None of what is no label.

    A text without white space at its ends, a number, true or false; numbers are one by their value.

    >>> label_key(" yes"), label_key(1), label_key("1.0"), label_key(False)
    ('yes', '1', '1', 'false')
    >>> label_key(" "), label_key(float("nan")), label_key(["yes"])
    (None, None, None)
    """
    text = _spelled(value)
    whole = _WHOLE.fullmatch(text)
    return (str(int(whole[1])) if whole else text) or None


def label_names(values: Iterable[Any]) -> tuple[str, ...]:
    """Return the distinct labels as texts, sorted; numbers by their value.

    A label that is spelled in one way is called so, and one of several spellings by its key.

    ["neutral", "yes", "no", " yes"]  ->  ("neutral", "no", "yes")
    [10, 2, 2]                        ->  ("2", "10")
    [1, "1.0", 2.0]                   ->  ("1", "2.0")
    """
    spellings: dict[str, set[str]] = {}
    for value in values:
        if (key := label_key(value)) is not None:
            spellings.setdefault(key, set()).add(_spelled(value))
    names = {key: min(found) if len(found) == 1 else key for key, found in spellings.items()}
    numbers = all(_NUMBER.fullmatch(key) for key in names)
    return tuple(names[key] for key in sorted(names, key=float if numbers else names.__getitem__))


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
    numbers = {label_key(name): number for number, name in enumerate(names)}
    ids = np.empty(len(values), np.int32)
    for i, value in enumerate(values):
        key = label_key(value)
        number = None if key is None else numbers.get(key)
        if number is None:
            raise UserError(
                f"{source}, line {lines[i]}: got label {key or value!r}; expected one of"
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
        if not is_number(value):
            raise UserError(
                f"{source}, line {lines[i]}: got label {value!r}; expected {wanted_number(value)}"
            )
        numbers[i] = float(value)
    return numbers


def is_number(value: Any) -> bool:
    """Whether a label is a finite number, or the text of one.

    >>> is_number(" 2.5 "), is_number("1e-3"), is_number("1_000"), is_number("2,11")
    (True, True, False, False)
    """
    if isinstance(value, str) and not _REAL.fullmatch(value.strip()):
        return False  # Python's float also takes 1_000 and the digits of other scripts
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):
        return False


def wanted_number(value: Any) -> str:
    """What an error expects instead of a label that is no number."""
    has_comma = isinstance(value, str) and "," in value
    return "a number" + (" with a decimal point, where this has a comma" if has_comma else "")


def wanted_label(value: Any) -> str:
    """What an error expects instead of a label that is none."""
    is_empty = isinstance(value, str) and not value.strip()
    way_out = " (leave_out_labels=, leaves out the examples without one)" if is_empty else ""
    return f"a text or a number{way_out}"


def _spelled(value: Any) -> str:
    """A label as a text; empty of what is no label."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    return str(value).strip() if isinstance(value, str | int | float) else ""
