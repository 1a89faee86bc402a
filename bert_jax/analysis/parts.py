"""How much of the input representation comes from each of its three parts."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class PartShares:
    """Shares of the variance of token + segment + position; they add up to 1."""

    token: float
    segment: float
    position: float


def variance_shares(token: np.ndarray, segment: np.ndarray, position: np.ndarray) -> PartShares:
    """Divide the variance of the sum, over n input positions, among the three parts.

    A part's share is its covariance with the sum, over all D dimensions, by the variance of the
    sum: for parts that do not depend on each other, its own variance by that of all three.

    Args:
        token, segment, position: [n, D] rows as they were summed.
    """
    centred = [
        np.asarray(rows, np.float64) - np.mean(rows, axis=0, dtype=np.float64)
        for rows in (token, segment, position)
    ]
    total = centred[0] + centred[1] + centred[2]
    whole = max(float((total**2).sum()), 1e-300)
    return PartShares(*(float((part * total).sum()) / whole for part in centred))
