"""What a part of an inspection gives, and how numbers go into `result.json`."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from bert_jax.analysis.report.page import Section


@dataclasses.dataclass(frozen=True)
class Finding:
    """What one part of an inspection found: for the page, and for `result.json`."""

    section: Section
    numbers: dict[str, Any]


def agreement_numbers(found: Any) -> dict[str, Any]:
    """An `Agreement` as JSON holds it, with its coverage."""
    content = {name: number_or_none(value) for name, value in dataclasses.asdict(found).items()}
    return {**content, "coverage": found.coverage}


def rounded(values: np.ndarray) -> list[Any]:
    """An array as JSON holds it, with five digits after the point."""
    return np.round(np.asarray(values, float), 5).tolist()


def number_or_none(value: Any) -> Any:
    """A number as JSON holds it, which knows no NaN."""
    plain = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain
