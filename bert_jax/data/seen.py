"""Which of very many 64-bit hashes came before: eight bytes each, or a fixed amount in all."""

import numpy as np


class SeenHashes:
    """A growing set of 64-bit hashes, 8 bytes each (16 while it merges); exact but for collisions.

    Two different lines share a hash with a chance of n²/2⁶⁵: one in 3,700 at a hundred million.
    """

    def __init__(self) -> None:
        # Sorted runs, each at least twice the next, so that a hash is merged log n times.
        self._runs: list[np.ndarray] = []

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def add(self, hashes: np.ndarray) -> np.ndarray:
        """Add uint64 [n]; return bool [n], whether each came before, earlier in `hashes` too."""
        distinct, first = np.unique(hashes, return_index=True)
        old = np.zeros(len(distinct), bool)
        for run in self._runs:
            at = np.searchsorted(run, distinct)
            at[at == len(run)] = 0
            old |= run[at] == distinct
        seen = np.ones(len(hashes), bool)
        seen[first[~old]] = False
        fresh = distinct[~old]
        if len(fresh):
            while self._runs and len(self._runs[-1]) < 2 * len(fresh):
                fresh = np.sort(np.concatenate([self._runs.pop(), fresh]), kind="stable")
            self._runs.append(fresh)
        return seen

    def keep_only(self, bits: int) -> None:
        """Forget every hash whose lowest `bits` bits are not all zero."""
        mask = np.uint64((1 << bits) - 1)
        kept = [run[run & mask == 0] for run in self._runs]
        self._runs = [np.sort(np.concatenate(kept))] if kept else []


class DuplicateCounter:
    """Counts repeated hashes in bounded memory: exactly up to `capacity` distinct ones.

    Beyond, it looks at every second hash, then at every fourth, …, chosen by the hash itself, and
    scales what it saw (distinct sampling: Gibbons, VLDB 2001). With the default capacity that
    takes 32 MB at most.
    """

    def __init__(self, capacity: int = 1 << 21):
        """Make an empty counter that holds up to `capacity` hashes."""
        self._capacity = capacity
        self._seen = SeenHashes()
        self._bits = 0
        self._duplicates = 0.0  # among the hashes that the present sample looks at

    def add(self, hashes: np.ndarray) -> None:
        """Count uint64 [n]."""
        if self._bits:
            hashes = hashes[hashes & np.uint64((1 << self._bits) - 1) == 0]
        self._duplicates += int(self._seen.add(hashes).sum())
        while len(self._seen) > self._capacity:
            self._bits += 1
            self._seen.keep_only(self._bits)
            # Which duplicates belong to the kept half is not known any more; half is their share.
            self._duplicates /= 2

    @property
    def exact(self) -> bool:
        """Whether `duplicates` is a count rather than an estimate."""
        return self._bits == 0

    @property
    def duplicates(self) -> int:
        """How many of the added hashes had been added before."""
        return round(self._duplicates * (1 << self._bits))
