"""Intervals and entropies of what was counted: plain arithmetic, on the host."""

from __future__ import annotations

import math

import numpy as np


def wilson_interval(hits: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval of a proportion (Wilson 1927): sound near 0 and 1, where ±z·σ is not."""
    if trials == 0:
        return 0.0, 1.0
    p, zz = hits / trials, z * z / trials
    centre = (p + zz / 2) / (1 + zz)
    half = z / (1 + zz) * math.sqrt(p * (1 - p) / trials + zz / (4 * trials))
    low, high = max(centre - half, 0.0), min(centre + half, 1.0)
    return min(low, p), max(high, p)  # at 0 and 1 the ends are p itself, but for rounding


def ratio_interval(
    numerators: np.ndarray, denominators: np.ndarray, z: float = 1.959964
) -> tuple[float, tuple[float, float]]:
    """A ratio of sums over batches [n], and its 95 % interval (Cochran 1977, 6.4).

    Both vary from batch to batch, as nats and masked tokens do; the interval is by linearisation.
    """
    ratio = numerators.sum() / denominators.sum()
    half = z * float(np.sqrt(np.square(numerators - ratio * denominators).sum()))
    half /= float(denominators.sum())
    return float(ratio), (float(ratio) - half, float(ratio) + half)


def unigram_entropy(pieces: np.ndarray) -> float:
    """Entropy in nats of the pieces' own distribution.

    No model that ignores the context can have a lower loss on this text, however well it knows
    the frequencies: an MLM loss below it is made of context.
    """
    counts = np.bincount(np.asarray(pieces))
    p = counts[counts > 0] / len(pieces)
    return float(-(p * np.log(p)).sum())
