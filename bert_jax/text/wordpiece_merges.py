"""What a WordPiece learner returns: its merges, their gains, and the pieces' counts at the end."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Merges:
    """What a learner did, merge by merge, and where it ended.

    Attributes:
        pieces: the characters and the pieces made, in the order of their making.
        left, right, piece: int32 [M], indices into `pieces`: what was merged and what it made.
        gain: float64 [M], the score the merge was chosen by: nats, or occurrences for frequency.
        occurrences: int64 [M], how many pairs it replaced, n.
        sizes: int32 [M], pieces in the vocabulary after the merge, characters included.
        counts: int64 [len(pieces)], occurrences of each piece at the end.
        stopped_by: "size", "gain" (the best gain fell below the threshold) or "exhausted" (every
            word is one piece).
    """

    pieces: tuple[str, ...]
    left: np.ndarray
    right: np.ndarray
    piece: np.ndarray
    gain: np.ndarray
    occurrences: np.ndarray
    sizes: np.ndarray
    counts: np.ndarray
    stopped_by: str

    def up_to(self, size: int) -> "Merges":
        """Return what would have been learned if only `size` pieces had been asked for."""
        if len(self.pieces) <= size:
            return self
        characters = len(self.pieces) - len(np.unique(self.piece))
        steps = int(np.searchsorted(self.sizes, size)) + 1 if size > characters else 0
        counts = self.counts.copy()
        for merged, sign in ((self.piece, -1), (self.left, 1), (self.right, 1)):  # undo the rest
            np.add.at(counts, merged[steps:], sign * self.occurrences[steps:])
        return Merges(
            pieces=self.pieces[:size],
            left=self.left[:steps],
            right=self.right[:steps],
            piece=self.piece[:steps],
            gain=self.gain[:steps],
            occurrences=self.occurrences[:steps],
            sizes=self.sizes[:steps],
            counts=counts[:size],
            stopped_by="size",
        )

    @property
    def total(self) -> int:
        """N, the pieces in the whole text at the end."""
        return int(self.counts.sum())

    @property
    def log_likelihood(self) -> float:
        """Σ f(c_u) − f(N) at the end, in nats."""
        return log_likelihood(self.counts.tolist())


def log_likelihood(counts: list[int]) -> float:
    """Return Σ f(c_u) − f(N) for the counts of all pieces, in nats, rounded once."""
    total = sum(counts)
    terms = [c * math.log(c) for c in counts if c]
    return math.fsum([*terms, -total * math.log(total)]) if total else 0.0
