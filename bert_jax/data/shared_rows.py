"""Batches of sequences for a model at work: nearly no padding, and few shapes.

A batch has a fixed number of places and not of rows, so that batches of long and of short texts
take a device about as long. Short sequences share rows, long ones have rows of few lengths:

    lengths 70 30 9 30 12 5, batches of 128 places
    rows of 64    30 30 | 12 9 5        two rows, two and three sequences in them
    rows of 80    70                    one row
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from bert_jax.data.lengths import choose_lengths
from bert_jax.data.row_layout import NO_SEQUENCE, Rows, Sequences, length_for, row_lengths

_SHORTEST = 64  # places of a row: attention is a few per cent of the work there
_STEP = 16  # the length of a row is a multiple of this, or the model's positions
_WASTE = 0.01  # of the places of rows, for fewer lengths
_SLACK = 1.05  # as much longer rows may be than they had to be, before more lengths are chosen
_MOST_LENGTHS = 12


class SharedRows:
    """Lays sequences into rows, of lengths that it chooses as it meets them and then keeps.

        shared = SharedRows(places=2048, positions=512)
        for rows in shared(sequences_of(inputs)):
            batch = lay_out(sequences, rows, pad_id)

    Args:
        places: tokens of a batch; a batch has one row at the least.
        positions: of the model: no row is longer.

    Attributes:
        lengths: those chosen so far, ascending; at most 12, and the model's positions.
    """

    def __init__(self, places: int, positions: int):
        self._places = places
        fine = [length for length in row_lengths(positions, _STEP) if length >= _SHORTEST]
        self._fine = tuple(fine) or (positions,)
        self.lengths: tuple[int, ...] = ()

    def __call__(self, sequences: Sequences) -> list[Rows]:
        """Put every sequence into a row, in batches from the longest to the shortest.

        A batch of rows of length L has `places // L` of them; the last one a power of four, if that
        is less. Places for sequences in a row are a power of four.
        """
        rows = self._laid(sequences, self._fine)
        needed = np.array([each.length for each in rows])
        if len(needed) and not self._suit(needed):
            room = _MOST_LENGTHS - len(self.lengths)
            chosen = (
                choose_lengths(needed, 1, waste=_WASTE, most=room) if room > 0 else self._fine[-1:]
            )
            self.lengths = tuple(sorted({*self.lengths, *chosen}))
        return rows if set(needed) <= set(self.lengths) else self._laid(sequences, self.lengths)

    def _suit(self, needed: np.ndarray) -> bool:
        """Whether the lengths there are pad rows of these lengths little enough."""
        if not self.lengths or needed.max() > self.lengths[-1]:
            return False
        if len(self.lengths) >= _MOST_LENGTHS:
            return True
        padded = sum(length_for(int(length), self.lengths) for length in needed)
        return padded <= _SLACK * needed.sum()

    def _laid(self, sequences: Sequences, lengths: Sequence[int]) -> list[Rows]:
        waiting = _Waiting(sequences.lengths)
        found = []
        while waiting.lengths:
            length = length_for(waiting.lengths[-1], lengths)
            most = max(self._places // length, 1)
            table: list[list[int]] = []
            while waiting.lengths and len(table) < most:
                table.append(waiting.take(length))
            rows = min(_power_of_four(len(table)), most)
            places = _power_of_four(max(map(len, table)))
            array = np.full((rows, places), NO_SEQUENCE, np.int64)
            for row, numbers in zip(array, table, strict=False):
                row[: len(numbers)] = numbers
            found.append(Rows(array, length))
        return found


class _Waiting:
    """Sequences that have no row yet, by their lengths."""

    def __init__(self, lengths: np.ndarray):
        self._numbers: dict[int, list[int]] = {}
        for number, length in enumerate(lengths.tolist()):
            self._numbers.setdefault(length, []).append(number)
        self.lengths = sorted(self._numbers)

    def take(self, room: int) -> list[int]:
        """Fill a row: the longest that fits, and again, until nothing does."""
        row = []
        while place := bisect_right(self.lengths, room):
            length = self.lengths[place - 1]
            row.append(self._numbers[length].pop())
            room -= length
            if not self._numbers[length]:
                del self.lengths[place - 1]
        return row


def _power_of_four(least: int) -> int:
    return 1 << -(-(least - 1).bit_length() // 2) * 2
