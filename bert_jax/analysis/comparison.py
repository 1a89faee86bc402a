"""Two tables compared, row by row: before and after, or two trainings of one vocabulary."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from bert_jax.analysis.neighbours import nearest_rows


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How table B differs from table A, over n rows that both have.

    Attributes:
        cosines: [n] of each row of A and the same row of B; NaN where the widths differ.
        aligned: [n] the same after B was turned onto A as well as a rotation can.
        procrustes: what is then left: 0 for the same shape, towards 1 for unrelated ones.
        sampled: [m] numbers into the n rows, whose neighbours were compared.
        before, after: [m, k] their neighbours in A and in B, as numbers into the n rows.
    """

    cosines: np.ndarray
    aligned: np.ndarray
    procrustes: float
    sampled: np.ndarray
    before: np.ndarray
    after: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        """[m] share of each row's neighbours in A that are its neighbours in B."""
        return (self.before[:, :, None] == self.after[:, None, :]).any(axis=2).mean(axis=1)

    def gained(self, number: int) -> np.ndarray:
        """The neighbours that sampled row `number` has in B only, nearest first."""
        return self.after[number][~np.isin(self.after[number], self.before[number])]

    def lost(self, number: int) -> np.ndarray:
        """The neighbours that sampled row `number` has in A only, nearest first."""
        return self.before[number][~np.isin(self.before[number], self.after[number])]


def compare_tables(a: np.ndarray, b: np.ndarray, sampled: np.ndarray, k: int = 10) -> Comparison:
    """Compare a [n, D] with b [n, D'], whose rows stand for the same pieces.

    Args:
        sampled: [m] rows whose neighbours are compared; all n where that is affordable.
        k: how many neighbours count.
    """
    if a.shape[1] == b.shape[1]:
        cosines = _row_cosines(a, b)
        distance, turned = procrustes(a, b)
        aligned = _row_cosines(a - a.mean(axis=0), turned)
    else:
        distance, cosines, aligned = math.nan, *(np.full(len(a), np.nan) for _ in range(2))
    before, after = (nearest_rows(table, sampled, k).ids for table in (a, b))
    return Comparison(cosines, aligned, distance, np.asarray(sampled), before, after)


def procrustes(a: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray]:
    """Turn b [n, D] onto a [n, D] by the best orthogonal matrix, both seen from their mean rows.

    Schönemann 1966. The distance is √(1 - (nuclear norm of aᵀb)² / (|a|² |b|²)): what is left of
    a's length when b is turned and stretched to fit it; 0 to 1, the same both ways.

    Returns:
        The distance, and b centred and turned, [n, D].
    """
    a, b = (np.asarray(t, np.float32) - t.mean(axis=0, dtype=np.float64).astype(np.float32)
            for t in (a, b))  # fmt: skip
    left, singular, right = np.linalg.svd((b.T @ a).astype(np.float64))
    lengths = float((a.astype(np.float64) ** 2).sum() * (b.astype(np.float64) ** 2).sum())
    left_over = 1 - float(singular.sum()) ** 2 / max(lengths, 1e-300)
    return math.sqrt(max(0.0, left_over)), b @ (left @ right).astype(np.float32)


def _row_cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.einsum("nd,nd->n", a, b) / np.maximum(lengths, 1e-30)
