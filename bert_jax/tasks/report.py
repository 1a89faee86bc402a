"""What a report shows of predictions: each kind of task chooses, whoever draws need not know it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """Rows under a header."""

    header: tuple[str, ...]
    rows: list[tuple[str, ...]]


@dataclass(frozen=True)
class Confusion:
    """True and predicted labels, one each an item: shown as scores by label and as a matrix."""

    truth: Sequence[str]
    predicted: Sequence[str]


@dataclass(frozen=True)
class LabelSets(Table):
    """Scores by label, of true and predicted sets of labels, one each an item."""

    truth: Sequence[str]
    predicted: Sequence[str]


@dataclass(frozen=True)
class Points:
    """(true, predicted) values."""

    values: list[tuple[float, float]]


@dataclass(frozen=True)
class Mistake:
    """Something the model got wrong, the larger `measure` the more worth a look."""

    measure: float
    text: str
    second: str
    truth: str
    predicted: str


@dataclass(frozen=True)
class Mistakes:
    """All mistakes; `names` are those of their two texts."""

    found: list[Mistake]
    names: tuple[str, str] = ("text", "pair")
    title: str = "Most confident mistakes"
    measure: str = "sure"


Shown = Table | Confusion | Points | Mistakes


def only_answer(shown: Sequence[Shown]) -> str:
    """What to say of a model that has one answer to everything; empty where it has several.

    >>> only_answer([Confusion(["yes", "no", "yes", "yes"], ["yes"] * 4)])
    "says 'yes' of everything in the development part: 1 of 4 are others"
    """
    for each in shown:
        if isinstance(each, Confusion | LabelSets) and len(set(each.predicted)) == 1 < len(
            set(each.truth)
        ):
            only = each.predicted[0]
            wrong = sum(label != only for label in each.truth)
            return (
                f"says {only!r} of everything in the development part: {wrong:,} of"
                f" {len(each.truth):,} are others"
            )
    return ""


Rows = Sequence[dict[str, Any]]
