"""Do cosines agree with people? Pairs of words, or of sentences, that people have scored."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.special import ndtri

from bert_jax.arguments import path_like
from bert_jax.errors import UserError
from bert_jax.mirror import at_hand


@dataclasses.dataclass(frozen=True)
class ScoredPairs:
    """n pairs of texts and how similar people found them.

    Attributes:
        name: of the file, without its ending.
        first, second: n texts each.
        scores: [n] float64, in any unit: only their order counts.
    """

    name: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    scores: np.ndarray


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Spearman's rank correlation with its confidence interval.

    Attributes:
        rho: NaN where fewer than three pairs could be compared, or all are alike.
        low, high: the interval.
        pairs: how many pairs could be compared.
        of: how many there are.
    """

    rho: float
    low: float
    high: float
    pairs: int
    of: int

    @property
    def coverage(self) -> float:
        """Share of the pairs that could be compared."""
        return self.pairs / self.of if self.of else 0.0


def read_scored_pairs(path: str | Path) -> ScoredPairs:
    """Read a file of scored pairs, one per line, columns separated by tabs.

    Three columns are text, text, score, as in WordSim-353, SimLex-999 and SICK; seven or more are
    those of the STS benchmark, whose fifth to seventh are score, text, text. Where there are no
    tabs, three columns may be separated by white space. A first line whose score is not a number
    is a heading; blank lines are skipped.

    Raises:
        UserError: no such file, or a line that is not of this form; names the line.
    """
    path_like("path", path, "a file of pairs with their scores")
    try:
        lines = at_hand(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"got {str(path)!r}, which cannot be read as text ({_reason(error)}); expected a file"
            " with two texts and a score per line"
        ) from None
    found: list[tuple[str, str, float]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        columns = line.split("\t") if "\t" in line else line.split()
        triple = _triple(columns)
        if triple is None and found == [] and number == 1:
            continue  # a heading
        if triple is None:
            raise UserError(
                f"got {line.strip()[:60]!r} in line {number} of {path}; expected two texts and a"
                " number, separated by tabs"
            )
        found.append(triple)
    if not found:
        raise UserError(
            f"got {path}, which holds no pairs; expected two texts and a score per line"
        )
    first, second, scores = zip(*found, strict=True)
    return ScoredPairs(Path(path).stem, first, second, np.array(scores))


def spearman(x: np.ndarray, y: np.ndarray, of: int | None = None, level: float = 0.95) -> Agreement:
    """Spearman's rank correlation of x [n] and y [n], ties by mean rank.

    The interval is Fisher's z with the standard error √((1 + ρ²/2) / (n - 3)) of Bonett & Wright
    2000, which keeps its level for rank correlations.

    Args:
        of: how many pairs there were before those that cannot be compared were left out.
        level: of confidence.
    """
    from scipy.stats import rankdata  # takes a second to import

    n = len(x)
    of = n if of is None else of
    ranks_x, ranks_y = (rankdata(values) - (n + 1) / 2 for values in (x, y))
    spread = math.sqrt(float((ranks_x**2).sum() * (ranks_y**2).sum()))
    if n < 3 or spread == 0:
        return Agreement(math.nan, math.nan, math.nan, n, of)
    rho = float((ranks_x * ranks_y).sum()) / spread
    if n == 3 or abs(rho) > 1 - 1e-12:
        rho = max(-1.0, min(1.0, rho))
        return Agreement(rho, *((-1.0, 1.0) if n == 3 else (rho, rho)), n, of)
    width = float(ndtri(0.5 + level / 2)) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    centre = math.atanh(rho)
    return Agreement(rho, math.tanh(centre - width), math.tanh(centre + width), n, of)


def agreement(first: np.ndarray, second: np.ndarray, scores: np.ndarray) -> Agreement:
    """How well the cosines of first [n, D] and second [n, D] order the pairs as people do.

        >>> first = np.array([[1.0, 0.0]] * 4)
        >>> second = np.array([[1.0, 0.0], [2.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
        >>> found = agreement(first, second, np.array([9.0, 7.0, 5.0, 1.0]))
        >>> found.rho, found.pairs
        (1.0, 4)

    Args:
        scores: [n] by people.
        first, second: a row with a NaN stands for a text without a vector; its pair is left out.
    """
    usable = ~(np.isnan(first).any(axis=1) | np.isnan(second).any(axis=1))
    a, b = (np.asarray(rows[usable], np.float64) for rows in (first, second))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = np.einsum("nd,nd->n", a, b) / np.maximum(lengths, 1e-300)
    return spearman(cosines, scores[usable], of=len(scores))


def distinct_texts(pairs: ScoredPairs) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Return the W distinct texts of the pairs, and for each side [n] numbers into them."""
    texts = tuple(dict.fromkeys(pairs.first + pairs.second))
    number = {text: i for i, text in enumerate(texts)}
    first, second = (np.array([number[t] for t in side]) for side in (pairs.first, pairs.second))
    return texts, first, second


def _triple(columns: Sequence[str]) -> tuple[str, str, float] | None:
    if len(columns) == 3:
        a, b, score = columns
    elif len(columns) >= 7:
        score, a, b = columns[4:7]
    else:
        return None
    try:
        value = float(score)
    except ValueError:
        return None
    a, b = a.strip(), b.strip()
    return (a, b, value) if a and b and math.isfinite(value) else None


def _reason(error: Exception) -> str:
    return error.strerror or "" if isinstance(error, OSError) else "not valid UTF-8"
