"""Which of a group of words does not belong with the others."""

from __future__ import annotations

import dataclasses

import numpy as np

from bert_jax.analysis.neighbours import directions
from bert_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Outlier:
    """The word that fits least, and how well each fits.

    Attributes:
        index: which of the n words it is.
        fit: [n] mean cosine of each word to the others.
    """

    index: int
    fit: np.ndarray


def find_outlier(vectors: np.ndarray, centre: np.ndarray | float = 0.0) -> Outlier:
    """The word whose mean cosine to the others is lowest.

    The measure of Camacho-Collados & Navigli 2016, "Find the word that does not belong".

    Args:
        vectors: [n, D], at least three.
        centre: [D], taken off first; the mean row of the table.

    Raises:
        UserError: fewer than three.
    """
    if len(vectors) < 3:
        raise UserError(f"got {len(vectors)} words; expected at least 3 to find an outlier among")
    units = directions(vectors, centre)
    cosines = units @ units.T
    fit = (cosines.sum(axis=1) - np.diag(cosines)) / (len(vectors) - 1)
    return Outlier(int(fit.argmin()), fit)
