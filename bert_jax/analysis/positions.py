"""The position table: which positions look alike, how that fades with distance, what repeats."""

from __future__ import annotations

import dataclasses

import numpy as np

from bert_jax.analysis.neighbours import directions


@dataclasses.dataclass(frozen=True)
class Positions:
    """Figures of a position table of L rows.

    Attributes:
        cosines: [L, L] fp32, seen from the mean row.
        decay: [L] mean cosine of two positions at distance 0 … L - 1.
        half_distance: the first distance at which the mean cosine is at most half; L where none.
        periods: [n] in positions, longest first: L, L/2, L/3 …
        power: [n] share of the table's variance over positions at each period, all D dimensions
            together; they add up to 1.
        norms: [L] lengths of the rows.
    """

    cosines: np.ndarray
    decay: np.ndarray
    half_distance: int
    periods: np.ndarray
    power: np.ndarray
    norms: np.ndarray

    @property
    def strongest_period(self) -> float:
        """In positions; L itself means that the table bends once and repeats nothing."""
        return float(self.periods[self.power.argmax()])


def positions_of(table: np.ndarray) -> Positions:
    """Measure a position table [L, D] of at least two rows.

    The power at a period is the squared length of the table's discrete Fourier transform over
    positions: a table of sines of period 8 has all of it at 8.
    """
    length = len(table)
    units = directions(table, table.mean(axis=0, dtype=np.float64))
    cosines = units @ units.T
    decay = np.array([np.diagonal(cosines, distance).mean() for distance in range(length)])
    below = np.flatnonzero(decay <= 0.5)
    waves = np.fft.rfft(table - table.mean(axis=0), axis=0)
    power = (np.abs(waves) ** 2).sum(axis=1)
    power[1 : (length + 1) // 2] *= 2  # each stands for a positive and a negative frequency
    power = power[1:]
    return Positions(
        cosines=cosines,
        decay=decay,
        half_distance=int(below[0]) if len(below) else length,
        periods=length / np.arange(1, len(power) + 1),
        power=power / max(power.sum(), 1e-300),
        norms=np.linalg.norm(table, axis=1),
    )
