"""The principal directions of a cloud of rows: what PCA, whitening and effective rank share."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """Mean and covariance of the rows of a table, the covariance by its eigenvectors.

    Attributes:
        mean: [D] float64.
        variances: [D] float64, largest first, none below 0.
        directions: [D, D] float64; column i is the direction of variance i. The sign is such that
            the entry of largest magnitude is positive.
    """

    mean: np.ndarray
    variances: np.ndarray
    directions: np.ndarray

    @property
    def explained(self) -> np.ndarray:
        """[D] the share of the whole variance in each direction; they add up to 1."""
        return self.variances / max(self.variances.sum(), 1e-300)

    @property
    def effective_rank(self) -> float:
        """exp(entropy of the shares): D for a round cloud, 1 for a line.

        Roy & Vetterli 2007, "The effective rank", of the variances (squared singular values).
        """
        shares = self.explained[self.explained > 0]
        return float(np.exp(-(shares * np.log(shares)).sum()))

    def project(self, rows: np.ndarray, count: int) -> np.ndarray:
        """Return fp32 [n, count], the rows along the first directions, seen from the mean."""
        centred = rows - self.mean.astype(rows.dtype)
        return (centred @ self.directions[:, :count].astype(rows.dtype)).astype(np.float32)


def spectrum_of(rows: np.ndarray, block: int = 8192) -> Spectrum:
    """Find the principal directions of rows [n, D], in blocks that keep memory at D²."""
    mean = rows.mean(axis=0, dtype=np.float64)
    second = np.zeros((rows.shape[1],) * 2)
    for start in range(0, len(rows), block):
        centred = rows[start : start + block] - mean.astype(rows.dtype)
        second += centred.T @ centred
    variances, directions = np.linalg.eigh(second / max(len(rows), 1))
    variances, directions = np.maximum(variances[::-1], 0.0), directions[:, ::-1]
    largest = np.abs(directions).argmax(axis=0)
    signs = np.sign(directions[largest, np.arange(len(largest))])
    return Spectrum(mean, variances, directions * np.where(signs == 0, 1.0, signs))
