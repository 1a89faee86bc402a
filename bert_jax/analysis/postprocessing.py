"""Making a table's cosines say more: taking off what all rows share, evening out the rest."""

from __future__ import annotations

import numpy as np

from bert_jax.analysis.spectrum import Spectrum


def all_but_the_top(rows: np.ndarray, spectrum: Spectrum, count: int | None = None) -> np.ndarray:
    """Take the mean and the `count` strongest directions off the rows [n, D].

    Mu & Viswanath 2018 (https://arxiv.org/abs/1702.01417).

    Args:
        spectrum: of the table the rows belong to.
        count: how many directions; None takes their advice, D / 100, but at least 1.
    """
    count = max(1, round(rows.shape[1] / 100)) if count is None else count
    top = spectrum.directions[:, :count].astype(rows.dtype)
    centred = rows - spectrum.mean.astype(rows.dtype)
    return centred - (centred @ top) @ top.T


def whitened(rows: np.ndarray, spectrum: Spectrum) -> np.ndarray:
    """Bring the rows [n, D] to mean 0 and to variance 1 in every direction.

    Su et al. 2021 (https://arxiv.org/abs/2103.15316). A direction without variance stays without.

    Args:
        spectrum: of the table the rows belong to.
    """
    floor = spectrum.variances[0] * 1e-10 if len(spectrum.variances) else 0.0
    scale = np.where(
        spectrum.variances > floor, np.maximum(spectrum.variances, 1e-300) ** -0.5, 0.0
    )
    turn = (spectrum.directions * scale).astype(rows.dtype)
    return (rows - spectrum.mean.astype(rows.dtype)) @ turn
