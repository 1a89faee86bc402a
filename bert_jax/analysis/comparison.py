"""Two tables compared row by row, and all checkpoints of a run beside its last."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bert_jax.analysis.geometry import mean_cosine, positions_of, segments_of, spectrum_of
from bert_jax.analysis.nearest import nearest_rows
from bert_jax.arguments import expect


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
    for name, table in (("a", a), ("b", b)):
        expect(name, table, np.ndarray, "a table, an array [V, D]")
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

        >>> rows = np.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 1.0]])
        >>> distance, turned = procrustes(rows, rows @ np.array([[0.0, 1.0], [-1.0, 0.0]]))
        >>> round(distance, 6), np.allclose(turned, rows - rows.mean(axis=0))
        (0.0, True)

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


@dataclasses.dataclass(frozen=True)
class Moment:
    """The tables at one step of training, compared with those at the last step.

    Attributes:
        step: updates made.
        token_norm: mean length of the token rows.
        mean_cosine: of all pairs of token rows.
        effective_rank: of the token table.
        cosine_to_last: mean over rows of the cosine to the same row of the last table.
        procrustes_to_last: distance to it after the best rotation.
        neighbours_kept: mean share of a row's neighbours that are its neighbours at the end.
        position_neighbour_cosine: mean cosine of two positions that follow each other.
        segment_angle: degrees between the two segment rows; 0 where there is one.
    """

    step: int
    token_norm: float
    mean_cosine: float
    effective_rank: float
    cosine_to_last: float
    procrustes_to_last: float
    neighbours_kept: float
    position_neighbour_cosine: float
    segment_angle: float


def moment(
    step: int, embeddings: Mapping[str, Any], last: np.ndarray, sampled: np.ndarray, k: int = 10
) -> Moment:
    """Measure the tables of one checkpoint.

    Args:
        embeddings: as `load_embeddings` gives them.
        last: [V, D] the token table at the end.
        sampled: [m] rows whose neighbours are compared.
        k: how many neighbours count.
    """
    table = embeddings["token"]["table"]
    against: Comparison = compare_tables(table, last, sampled, k)
    positions = positions_of(embeddings["position"]["table"])
    angles = segments_of(embeddings["segment"]["table"]).angles
    return Moment(
        step=step,
        token_norm=float(np.linalg.norm(table, axis=1).mean()),
        mean_cosine=mean_cosine(table),
        effective_rank=spectrum_of(table).effective_rank,
        cosine_to_last=float(against.cosines.mean()),
        procrustes_to_last=against.procrustes,
        neighbours_kept=float(against.kept.mean()),
        position_neighbour_cosine=float(positions.decay[1]),
        segment_angle=float(angles[0, 1]) if len(angles) > 1 else 0.0,
    )
