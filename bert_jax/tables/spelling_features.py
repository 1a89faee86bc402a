"""Pieces as vectors of the strings of letters in them, so that like spellings have a large product.

    walking    ^w wa al … ^wa wal … walkin alking lking$     2 to 6 letters, ends marked
               ^walki ^walkin ^walking                       its beginnings, however long
    ##king     ~k ki in … king$                              inside a word another mark begins it

The rarer a string, the more it weighs: 1 / (pieces that have it)^¼. Vectors have length 1, so the
product of two is the cosine of what they share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import scipy.sparse

_SHORTEST, _LONGEST = 2, 6
_RARITY = 0.25


class SpellingFeatures:
    """Makes the vectors; which strings there are, and how rare they are, `known` pieces say."""

    def __init__(self, known: Sequence[str]):
        count = Counter(string for piece in known for string in strings_of(piece))
        self._columns = {string: column for column, string in enumerate(sorted(count))}
        counts = np.array([count[string] for string in self._columns], np.float64)
        self._weights = counts**-_RARITY

    def __call__(self, pieces: Sequence[str]) -> scipy.sparse.csr_array:
        """Return [N, F] float32; a piece that shares no string with the known ones is all 0."""
        columns: list[int] = []
        ends = [0]
        for piece in pieces:
            known = (self._columns.get(string) for string in strings_of(piece))
            columns += sorted(column for column in known if column is not None)
            ends.append(len(columns))
        shape = (len(pieces), len(self._columns))
        features = scipy.sparse.csr_array((self._weights[columns], columns, ends), shape)
        lengths = np.sqrt(features.power(2).sum(axis=1))
        features.data /= np.repeat(lengths, np.diff(ends))
        return features.astype(np.float32)


def strings_of(piece: str) -> set[str]:
    """The marked strings of a piece; "##" says that it continues a word."""
    inside = piece.startswith("##") and len(piece) > 2
    marked = f"~{piece[2:]}$" if inside else f"^{piece}$"
    strings = {
        marked[start : start + length]
        for length in range(_SHORTEST, _LONGEST + 1)
        for start in range(len(marked) - length + 1)
    }
    if not inside:
        strings.update(marked[:end] + "…" for end in range(4, len(marked)))
    return strings
