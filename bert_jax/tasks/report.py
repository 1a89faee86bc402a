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
Rows = Sequence[dict[str, Any]]
