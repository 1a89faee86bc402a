"""The shape of a cloud of rows: lengths, isotropy, how many directions it really uses."""

from __future__ import annotations

import dataclasses

import numpy as np

from bert_jax.analysis.neighbours import directions
from bert_jax.analysis.similarity import Agreement, spearman
from bert_jax.analysis.spectrum import Spectrum


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Figures of one table [V, D].

    Attributes:
        norms: [V] lengths of the rows.
        mean_cosine: over all pairs of two different rows, exact; 0 for a round cloud.
        mean_cosine_centred: the same seen from the mean row.
        isotropy: Mu & Viswanath's measure, 1 for a round cloud, towards 0 for a narrow one.
        effective_rank: of the centred rows, 1 to D.
        common_share: share of the mean squared length that lies in the mean row.
    """

    norms: np.ndarray
    mean_cosine: float
    mean_cosine_centred: float
    isotropy: float
    effective_rank: float
    common_share: float


def geometry_of(table: np.ndarray, spectrum: Spectrum) -> Geometry:
    """Measure a table [V, D] of at least two rows, given its spectrum."""
    norms = np.linalg.norm(table, axis=1)
    return Geometry(
        norms=norms,
        mean_cosine=mean_cosine(table),
        mean_cosine_centred=mean_cosine(table, spectrum.mean),
        isotropy=partition_isotropy(table),
        effective_rank=spectrum.effective_rank,
        common_share=float(
            (spectrum.mean**2).sum() / max(np.mean(norms.astype(np.float64) ** 2), 1e-300)
        ),
    )


def mean_cosine(rows: np.ndarray, centre: np.ndarray | float = 0.0) -> float:
    """Mean cosine of all pairs of two different rows [n, D], without forming the pairs.

    The sum of all cosines is |Σ u|² for unit vectors u; the n of them with themselves go off.
    """
    units = directions(rows, centre)
    count = len(units)
    total = units.sum(axis=0, dtype=np.float64)
    own = np.einsum("nd,nd->", units, units, dtype=np.float64)
    return float((total @ total - own) / (count * (count - 1)))


def partition_isotropy(rows: np.ndarray, block: int = 8192) -> float:
    """min Z(c) / max Z(c), where Z(c) = Σ exp(c · row) and c are the eigenvectors of rowsᵀ rows.

    Mu & Viswanath 2018, equation 7 (https://arxiv.org/abs/1702.01417); an eigenvector has no
    sign, so both are taken.

    Args:
        rows: [n, D].
        block: rows looked at at once.
    """
    second = np.zeros((rows.shape[1],) * 2)
    for start in range(0, len(rows), block):
        part = rows[start : start + block]
        second += part.T @ part
    vectors = np.linalg.eigh(second)[1].astype(rows.dtype)
    parts = [rows[start : start + block] @ vectors for start in range(0, len(rows), block)]
    top = max(float(np.abs(part).max()) for part in parts)  # keeps every exponent at or below 0
    ups = sum(np.exp(part - top).sum(axis=0, dtype=np.float64) for part in parts)
    downs = sum(np.exp(-part - top).sum(axis=0, dtype=np.float64) for part in parts)
    both = np.concatenate([ups, downs])
    return float(both.min() / both.max())


@dataclasses.dataclass(frozen=True)
class NormByFrequency:
    """How the lengths of rows go with how often their pieces occur.

    Attributes:
        agreement: Spearman over the rows that occurred.
        edges: [n + 1] counts that bound the bins, a geometric sequence; the last is beyond all.
        medians: [n] of the lengths in each bin; NaN for an empty one.
        sizes: [n] rows in each bin.
        unseen: median length of the rows that never occurred; NaN where all did.
    """

    agreement: Agreement
    edges: np.ndarray
    medians: np.ndarray
    sizes: np.ndarray
    unseen: float


def norm_by_frequency(norms: np.ndarray, counts: np.ndarray) -> NormByFrequency:
    """Compare lengths [V] with counts [V], in bins that double.

    Example: counts 1, 2, 3, 9 fall into the bins [1, 2), [2, 4), [8, 16).
    """
    seen = counts > 0
    powers = int(np.log2(counts.max())) + 1 if seen.any() else 0
    edges = 2 ** np.arange(powers + 1)
    bins = np.digitize(counts, edges) - 1
    inside = [norms[bins == number] for number in range(powers)]
    return NormByFrequency(
        spearman(norms[seen], counts[seen], of=len(counts)),
        edges,
        np.array([np.median(values) if len(values) else np.nan for values in inside]),
        np.array([len(values) for values in inside], np.int64),
        float(np.median(norms[~seen])) if not seen.all() else float("nan"),
    )
