"""Nearest rows of an embedding table, found in blocks on the device that jax runs on."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

_BLOCK_SCORES = 2**25  # scores held at once, 128 MiB of fp32: never V × V of them


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """For each query its k nearest rows, nearest first.

    Attributes:
        ids: [Q, k] row numbers.
        cosines: [Q, k], from 1 downwards.
    """

    ids: np.ndarray
    cosines: np.ndarray


def nearest_rows(
    table: np.ndarray, queries: np.ndarray, k: int, candidates: np.ndarray | None = None
) -> Neighbours:
    """The rows of `table` whose direction from the mean row is most like each query row's.

    The mean of the candidate rows is taken off first: all rows of a trained table share a large
    common part that says nothing of any one of them (Mu & Viswanath 2018).

    Args:
        table: [V, D].
        queries: [Q] row numbers; a row is no neighbour of itself.
        k: how many neighbours; fewer where there are fewer candidates.
        candidates: [C] row numbers that may be neighbours; None for all.
    """
    queries = np.asarray(queries)
    return nearest_to(table, table[queries], k, candidates, excluded=queries[:, None])


def nearest_to(
    table: np.ndarray,
    vectors: np.ndarray,
    k: int,
    candidates: np.ndarray | None = None,
    excluded: np.ndarray | None = None,
) -> Neighbours:
    """The rows of `table` whose direction from the mean row is most like each vector's.

    Args:
        table: [V, D].
        vectors: [Q, D], in the table's coordinates: the mean row is taken off them too.
        k: how many neighbours; fewer where there are fewer candidates.
        candidates: [C] row numbers that may be neighbours; None for all.
        excluded: [Q, E] row numbers that are no neighbours of this vector; -1 excludes none.
    """
    candidates = np.arange(len(table)) if candidates is None else np.asarray(candidates)
    excluded = np.full((len(vectors), 0), -1) if excluded is None else np.asarray(excluded)
    rows = table[candidates]
    centre = rows.mean(axis=0, dtype=np.float64)
    k = max(0, min(k, len(candidates) - excluded.shape[1]))
    if k == 0 or len(vectors) == 0:
        return Neighbours(np.zeros((len(vectors), k), np.int64), np.zeros((len(vectors), k)))
    queries, rows = directions(vectors, centre), jnp.asarray(directions(rows, centre))
    block = min(len(queries), max(1, _BLOCK_SCORES // len(candidates)))
    found = []
    for start in range(0, len(queries), block):
        part = slice(max(0, min(start, len(queries) - block)), start + block)  # all of one size
        cosines, places = _best(
            queries[part], rows, jnp.asarray(candidates), jnp.asarray(excluded[part]), k
        )
        new = slice(start - part.start, None)
        found.append((np.asarray(places)[new], np.asarray(cosines)[new]))
    places, cosines = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Neighbours(candidates[places], cosines)


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
    cosines = jnp.matmul(queries, rows.T, precision="highest")
    barred = (excluded[:, :, None] == ids).any(axis=1)
    best, places = jax.lax.top_k(jnp.where(barred, -jnp.inf, cosines), k)
    return best, places
