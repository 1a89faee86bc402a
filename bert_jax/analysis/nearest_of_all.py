"""The nearest rows of every row of a table: V² cosines, of which a few million are held at once.

    blocks of rows     0   1   2   3
                   0   ■   ■   ■   ■      a block of cosines serves its rows and, since the matrix
                   1       ■   ■   ■      is symmetric, its columns: half of them are never made
                   2           ■   ■
                   3               ■

Blocks are multiplied in bfloat16, which on a recent CPU takes half the time. That only draws up a
list of somewhat more than k rows; the cosines that are returned, and their order, are of fp32.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.analysis.nearest import Neighbours, directions, mean_row, trimmed
from bert_jax.data.compiling import compiled

# bfloat16 moves a cosine by about 1e-4; so many more are kept that the true k are among them.
_SPARE = 12


def all_neighbours(
    table: np.ndarray,
    k: int,
    candidates: np.ndarray | None = None,
    centre: np.ndarray | None = None,
    block_rows: int = 2048,
) -> Neighbours:
    """The k nearest rows of every row, as `nearest_rows` defines them.

    Args:
        table: [V, D].
        k: how many neighbours; fewer where there are fewer candidates.
        candidates: [C] row numbers that may be neighbours; None for all.
        centre: [D], where directions begin; None for the mean of all rows of the table.
        block_rows: rows that are multiplied at once; memory grows with its square.
    """
    allowed = np.ones(len(table), bool)
    if candidates is not None:
        allowed[:] = False
        allowed[candidates] = True
    k = max(0, min(k, int(allowed.sum())))
    if k == 0:
        return Neighbours(np.zeros((len(table), 0), np.int32), np.zeros((len(table), 0)))
    rows = directions(table, mean_row(table) if centre is None else centre)
    kept = min(k + _SPARE, int(allowed.sum()))
    ids = _shortlist(rows, allowed, kept, min(block_rows, len(rows)))
    return _ranked(rows, ids, k)


def _shortlist(rows: np.ndarray, allowed: np.ndarray, kept: int, block: int) -> np.ndarray:
    """The `kept` best columns of each row, int32 [V, kept], by products in bfloat16.

    A row that is a candidate itself may have one fewer: -1 in its last place.
    """
    best = np.full((len(rows), kept), -np.inf, np.float32)
    ids = np.full((len(rows), kept), -1, np.int32)
    starts = [min(start, len(rows) - block) for start in range(0, len(rows), block)]
    fresh = list(range(0, len(rows), block))  # the last block reaches back over rows already done
    halves = [jnp.asarray(rows[start : start + block]).astype(jnp.bfloat16) for start in starts]
    columns = [half.T for half in halves]  # as arrays of their own: a CPU multiplies these faster
    pairs = [(i, j) for i in range(len(starts)) for j in range(i, len(starts))]
    ahead = _products(halves[0], columns[0])
    for number, (i, j) in enumerate(pairs):
        cosines = ahead
        if number + 1 < len(pairs):  # the next product runs while these are looked through
            following = pairs[number + 1]
            ahead = _products(halves[following[0]], columns[following[1]])
        _keep_best(
            np.asarray(cosines)[fresh[i] - starts[i] :, fresh[j] - starts[j] :],
            fresh[i],
            fresh[j],
            allowed,
            best,
            ids,
        )
    return ids


@jax.jit
def _products(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, preferred_element_type=jnp.float32)


@compiled
def _keep_best(cosines, first_row, first_column, allowed, best, ids):
    """Take over what beats the worst that is kept, for each row and, off the diagonal, column."""
    count, width = cosines.shape
    mirrored = first_row != first_column
    last = best.shape[1] - 1
    for r in range(count):
        row = first_row + r
        row_allowed = mirrored and allowed[row]
        for c in range(width):
            value = cosines[r, c]
            column = first_column + c
            if value > best[row, last] and allowed[column] and column != row:
                _insert(best[row], ids[row], value, column)
            if row_allowed and value > best[column, last]:
                _insert(best[column], ids[column], value, row)


@compiled
def _insert(best, ids, value, column):
    at = len(best) - 1
    while at > 0 and best[at - 1] < value:
        best[at], ids[at] = best[at - 1], ids[at - 1]
        at -= 1
    best[at], ids[at] = value, column


def _ranked(rows: np.ndarray, ids: np.ndarray, k: int, block: int = 1024) -> Neighbours:
    """The first k of each row's list by exact cosine."""
    near = np.empty((len(rows), k), np.int32)
    cosines = np.empty((len(rows), k), np.float32)
    for start in range(0, len(rows), block):
        part = slice(start, start + block)
        exact = np.einsum("rd,rkd->rk", rows[part], rows[ids[part]], optimize=False)
        exact[ids[part] < 0] = -np.inf
        order = np.argsort(-exact, axis=1, kind="stable")[:, :k]
        near[part] = np.take_along_axis(ids[part], order, axis=1)
        cosines[part] = np.take_along_axis(exact, order, axis=1)
    return trimmed(near, cosines)
