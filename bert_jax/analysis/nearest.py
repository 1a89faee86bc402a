"""Nearest rows of an embedding table, found in blocks on the device that jax runs on.

The cosine of two rows is that of their directions from a centre: all rows of a trained table share
a large common part that says nothing of any one of them (Mu & Viswanath 2018). The centre is the
table's own, whoever may be a neighbour, so that two rows have one cosine wherever it is asked for;
`TokenRows.centre` is the one that all of the laboratory uses.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

_BLOCK_SCORES = 2**25  # scores held at once, 128 MiB of fp32: never V × V of them


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """For each query its nearest rows, nearest first.

    A query with fewer than k of them (one that is a candidate itself, say, beside one that is not)
    has row -1 and cosine -inf in its last places.

    Attributes:
        ids: [Q, k] row numbers.
        cosines: [Q, k], from 1 downwards.
    """

    ids: np.ndarray
    cosines: np.ndarray

    def of(self, query: int) -> list[tuple[int, float]]:
        """The neighbours that one query has: (row, cosine)."""
        there = self.ids[query] >= 0
        return list(
            zip(self.ids[query][there].tolist(), self.cosines[query][there].tolist(), strict=True)
        )


class RowIndex:
    """Rows of a table, prepared once, so that each question about their neighbours is quick.

        >>> table = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> index = RowIndex(table)  # centred, of length 1, on the device
        >>> index.nearest_rows(np.array([0, 3]), k=1).ids.tolist()
        [[1], [2]]

    Args:
        table: [V, D]; not to be changed meanwhile.
        candidates: [C] row numbers that may be neighbours; None for all.
        centre: [D], where directions begin; None for the mean of all rows of the table.

    Attributes:
        centre: [D].
    """

    def __init__(
        self,
        table: np.ndarray,
        candidates: np.ndarray | None = None,
        centre: np.ndarray | None = None,
    ):
        self.centre = mean_row(table) if centre is None else centre
        self._table = table
        self._candidates = np.arange(len(table)) if candidates is None else np.asarray(candidates)
        rows = table if candidates is None else table[self._candidates]
        self._rows = jnp.asarray(directions(rows, self.centre))
        self._ids = jnp.asarray(self._candidates)

    def nearest_rows(self, queries: np.ndarray, k: int) -> Neighbours:
        """The rows whose direction from the centre is most like each query row's.

        Args:
            queries: [Q] row numbers of the table; a row is not its own neighbour.
            k: how many neighbours; fewer where there are fewer candidates.
        """
        queries = np.asarray(queries)
        return self.nearest_to(self._table[queries], k, queries[:, None])

    def nearest_to(
        self, vectors: np.ndarray, k: int, excluded: np.ndarray | None = None
    ) -> Neighbours:
        """The rows whose direction from the centre is most like each vector's.

        Args:
            vectors: [Q, D], in the table's coordinates: the centre is taken off them too.
            k: how many neighbours; fewer where there are fewer candidates.
            excluded: [Q, E] row numbers that cannot be neighbours of this vector; -1 excludes none.
        """
        excluded = np.full((len(vectors), 0), -1) if excluded is None else np.asarray(excluded)
        k = max(0, min(k, len(self._candidates)))
        if k == 0 or len(vectors) == 0:
            return Neighbours(np.zeros((len(vectors), k), np.int64), np.zeros((len(vectors), k)))
        queries = directions(vectors, self.centre)
        block = min(len(queries), max(1, _BLOCK_SCORES // len(self._candidates)))
        found = []
        for start in range(0, len(queries), block):
            part = slice(max(0, min(start, len(queries) - block)), start + block)  # all of one size
            cosines, places = _best(
                queries[part], self._rows, self._ids, jnp.asarray(excluded[part]), k
            )
            new = slice(start - part.start, None)
            found.append((np.asarray(places)[new], np.asarray(cosines)[new]))
        places, cosines = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return trimmed(np.where(np.isneginf(cosines), -1, self._candidates[places]), cosines)


def nearest_rows(
    table: np.ndarray,
    queries: np.ndarray,
    k: int,
    candidates: np.ndarray | None = None,
    centre: np.ndarray | None = None,
) -> Neighbours:
    """`RowIndex(table, candidates, centre).nearest_rows(queries, k)`, for one question alone.

    >>> table = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    >>> nearest_rows(table, np.array([0, 2]), k=1).ids.tolist()
    [[1], [3]]
    """
    return RowIndex(table, candidates, centre).nearest_rows(queries, k)


def nearest_to(
    table: np.ndarray,
    vectors: np.ndarray,
    k: int,
    candidates: np.ndarray | None = None,
    excluded: np.ndarray | None = None,
    centre: np.ndarray | None = None,
) -> Neighbours:
    """`RowIndex(table, candidates, centre).nearest_to(vectors, k, excluded)`, likewise."""
    return RowIndex(table, candidates, centre).nearest_to(vectors, k, excluded)


def trimmed(ids: np.ndarray, cosines: np.ndarray) -> Neighbours:
    """Neighbours without the last places that no query fills (id -1)."""
    filled = (ids >= 0).any(axis=0)
    return Neighbours(ids[:, filled], cosines[:, filled])


def mean_row(table: np.ndarray) -> np.ndarray:
    """The mean of the rows [n, D] in double precision, [D]."""
    return table.mean(axis=0, dtype=np.float64)


def directions(rows: np.ndarray, centre: np.ndarray | float = 0.0) -> np.ndarray:
    """Unit vectors, fp32 [n, D], from `centre` to each row; a row at the centre gives zeros."""
    rows = (rows - np.asarray(centre, rows.dtype)).astype(np.float32, copy=False)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return rows


@functools.partial(jax.jit, static_argnames="k")
def _best(
    queries: jax.Array, rows: jax.Array, ids: jax.Array, excluded: jax.Array, k: int
) -> tuple[jax.Array, jax.Array]:
    """The k highest of `queries · rowsᵀ` [Q, C] and their columns, ties to the first column."""
    # The rows first: a CPU reads them as they lie, and one query takes a sixth of the time.
    cosines = jnp.matmul(rows, queries.T, precision="highest").T
    barred = (excluded[:, :, None] == ids).any(axis=1)
    best, places = jax.lax.top_k(jnp.where(barred, -jnp.inf, cosines), k)
    return best, places
