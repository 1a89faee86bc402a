"""The shape of a table: its principal directions, lengths, isotropy; what positions repeat.

Spectrum    of any cloud of rows: mean, variances, directions (PCA, whitening, effective rank)
Geometry    of the token table
Positions   of the position table: which look alike, how that fades, what repeats
Segments    of the segment table: how far apart A and B are, and where
"""

from __future__ import annotations

import dataclasses

import numpy as np

from bert_jax.analysis.nearest import directions, mean_row
from bert_jax.analysis.similarity import Agreement, spearman


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
    mean = mean_row(rows)
    second = np.zeros((rows.shape[1],) * 2)
    for start in range(0, len(rows), block):
        centred = rows[start : start + block] - mean.astype(rows.dtype)
        second += centred.T @ centred
    variances, directions = np.linalg.eigh(second / max(len(rows), 1))
    variances, directions = np.maximum(variances[::-1], 0.0), directions[:, ::-1]
    largest = np.abs(directions).argmax(axis=0)
    signs = np.sign(directions[largest, np.arange(len(largest))])
    return Spectrum(mean, variances, directions * np.where(signs == 0, 1.0, signs))


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
    units = directions(table, mean_row(table))
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
