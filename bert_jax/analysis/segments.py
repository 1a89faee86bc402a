"""The segment table: how far apart the rows of sentence A and sentence B are, and where."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Segments:
    """Figures of a segment table of S rows.

    Attributes:
        norms: [S] lengths of the rows.
        angles: [S, S] degrees between the rows.
        difference: [D] the second row less the first; zeros where there is only one.
        difference_norm: its length.
        dimensions: [D] dimensions by how much the two rows differ in them, most first.
        half_in: how many of these hold half of the squared difference; 0 where there is none.
    """

    norms: np.ndarray
    angles: np.ndarray
    difference: np.ndarray
    difference_norm: float
    dimensions: np.ndarray
    half_in: int


def segments_of(table: np.ndarray) -> Segments:
    """Measure a segment table [S, D]."""
    table = np.asarray(table, np.float64)
    norms = np.linalg.norm(table, axis=1)
    cosines = table @ table.T / np.maximum(np.outer(norms, norms), 1e-300)
    difference = table[1] - table[0] if len(table) > 1 else np.zeros(table.shape[1])
    order = np.argsort(-np.abs(difference), kind="stable")
    energy = np.cumsum(difference[order] ** 2)
    return Segments(
        norms=norms,
        angles=np.degrees(np.arccos(np.clip(cosines, -1, 1))),
        difference=difference,
        difference_norm=float(np.linalg.norm(difference)),
        dimensions=order,
        half_in=int(np.searchsorted(energy, energy[-1] / 2)) + 1 if energy[-1] > 0 else 0,
    )
