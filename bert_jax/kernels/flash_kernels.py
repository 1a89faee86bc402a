"""Attention with dropout over blocks, as Pallas kernels that a GPU and a TPU share.

The scores of a block of queries and a block of keys, their weights and their dropout mask live in
registers only. The forward pass walks over the keys with a running softmax and keeps the logarithm
of each query's sum; the backward passes compute weights and mask again from that and from the hash
(Dao et al. 2022, https://arxiv.org/abs/2205.14135; 2023, https://arxiv.org/abs/2307.08691).

What each program of the grid, for a row, a head and a block, sees of the arrays, by shape:

    states       [L, H] or a block of it: query, key, value, what was mixed, and their gradients
    of_queries   [1, L] fp32: log of the sum of exp(scores), or the sum of gradient times output
    ids          [1, L] int32: where equal, positions see each other; 0 is seen by nobody, and
                 sees all; below 0 is seen by everybody alike, whatever its score
    hashing      [1, 4] uint32: two words of the row, and the index of the head's first weight

L is a multiple of the block here. Positions that were added to make it one have id 0 and zeros.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from bert_jax.kernels.dropout import is_kept

_LOWEST = float(jnp.finfo(jnp.float32).min)


@dataclasses.dataclass(frozen=True)
class Pair:
    """What one block of queries and one of keys make of each other.

    Attributes:
        axis: of the grid, which counts blocks.
        block: queries, and keys, in a block.
        length: of a row before positions were added: the mask counts its weights by it.
        scale: of scores.
        rate: dropout of weights; 0 for none.
        kept_scale: of what dropout keeps.
    """

    axis: int
    block: int
    length: int
    scale: float
    rate: float
    kept_scale: float

    def at(self, number: Any) -> Any:
        """The places of a block in its row."""
        return pl.ds(pl.multiple_of(number * self.block, self.block), self.block)

    def scores(
        self, query: jax.Array, key: jax.Array, ids: Any, i: Any, j: Any
    ) -> tuple[jax.Array, jax.Array]:
        """Scores [block, block] in fp32, rows are queries; and where they count."""
        query_ids, key_ids = ids[0, self.at(i)][:, None], ids[0, self.at(j)][None, :]
        allowed = (key_ids > 0) & ((query_ids == key_ids) | (query_ids == 0))
        scores = _product(query, key, 1, 1) * self.scale
        return jnp.where(allowed, scores, jnp.where(key_ids < 0, 0.0, _LOWEST)), allowed

    def dropout(self, hashing: Any, i: Any, j: Any) -> Callable[[jax.Array], jax.Array]:
        """What sets to zero the weights [block, block] that einsum's mask drops."""
        if self.rate == 0:
            return lambda x: x
        query = lax.broadcasted_iota(jnp.uint32, (self.block, 1), 0) + jnp.uint32(i * self.block)
        key = lax.broadcasted_iota(jnp.uint32, (1, self.block), 1) + jnp.uint32(j * self.block)
        index = (hashing[:, 2:3] + query * jnp.uint32(self.length)) + key
        kept = is_kept(index, hashing[:, 0:1], hashing[:, 1:2], self.rate)
        return lambda x: jnp.where(kept, x, 0.0)


def flash_forward(
    hashing: Any, ids: Any, query: Any, key: Any, value: Any, mixed: Any, log_sums: Any,
    *, pair: Pair, blocks: int,
) -> None:  # fmt: skip
    """Mix the values for one block of queries."""
    i = pl.program_id(pair.axis)
    q = query[...]

    def step(j: Any, carried: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        greatest, total, sums = carried
        scores, _ = pair.scores(q, key[pair.at(j), :], ids, i, j)
        now = jnp.maximum(greatest, jnp.max(scores, axis=1, keepdims=True))
        weights, shrink = jnp.exp(scores - now), jnp.exp(greatest - now)
        total = total * shrink + jnp.sum(weights, axis=1, keepdims=True)
        weights = pair.dropout(hashing, i, j)(weights).astype(value.dtype)
        return now, total, sums * shrink + _product(weights, value[pair.at(j), :], 1, 0)

    column = (pair.block, 1)
    start = jnp.full(column, _LOWEST, jnp.float32), _zeros(column), _zeros(q.shape)
    greatest, total, sums = lax.fori_loop(0, blocks, step, start)
    mixed[...] = (sums * (pair.kept_scale / total)).astype(mixed.dtype)
    log_sums[0, :] = (greatest + jnp.log(total))[:, 0]


def _of_scores(
    pair: Pair, hashing: Any, ids: Any, q: jax.Array, k: jax.Array, v: jax.Array, g: jax.Array,
    log_sums: jax.Array, gains: jax.Array, i: Any, j: Any,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    """The weights as they met the values, and the gradient of the scores; scales left out."""
    scores, allowed = pair.scores(q, k, ids, i, j)
    weights = jnp.exp(scores - log_sums[:, None])
    drop = pair.dropout(hashing, i, j)
    dweights = drop(_product(g, v, 1, 1)) * pair.kept_scale
    dscores = jnp.where(allowed, weights * (dweights - gains[:, None]), 0.0)
    return drop(weights).astype(g.dtype), dscores.astype(q.dtype)


def flash_backward_of_queries(
    hashing: Any, ids: Any, query: Any, key: Any, value: Any, g: Any, log_sums: Any, gains: Any,
    dquery: Any, *, pair: Pair, blocks: int,
) -> None:  # fmt: skip
    """The gradient of one block of queries; g is that of what was mixed."""
    i = pl.program_id(pair.axis)
    q, of_mixed = query[...], g[...]

    def step(j: Any, total: jax.Array) -> jax.Array:
        k, v = key[pair.at(j), :], value[pair.at(j), :]
        _, dscores = _of_scores(
            pair, hashing, ids, q, k, v, of_mixed, log_sums[0, :], gains[0, :], i, j
        )
        return total + _product(dscores, k, 1, 0)

    total = lax.fori_loop(0, blocks, step, _zeros(q.shape))
    dquery[...] = (total * pair.scale).astype(dquery.dtype)


def flash_backward_of_keys(
    hashing: Any, ids: Any, query: Any, key: Any, value: Any, g: Any, log_sums: Any, gains: Any,
    dkey: Any, dvalue: Any, *, pair: Pair, blocks: int,
) -> None:  # fmt: skip
    """The gradients of one block of keys and values."""
    j = pl.program_id(pair.axis)
    k, v = key[...], value[...]

    def step(i: Any, totals: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        at = pair.at(i)
        q, of_mixed = query[at, :], g[at, :]
        weights, dscores = _of_scores(
            pair, hashing, ids, q, k, v, of_mixed, log_sums[0, at], gains[0, at], i, j
        )
        of_key, of_value = totals
        return of_key + _product(dscores, q, 0, 0), of_value + _product(weights, of_mixed, 0, 0)

    of_key, of_value = lax.fori_loop(0, blocks, step, (_zeros(k.shape), _zeros(v.shape)))
    dkey[...] = (of_key * pair.scale).astype(dkey.dtype)
    dvalue[...] = (of_value * pair.kept_scale).astype(dvalue.dtype)


def _zeros(shape: tuple[int, ...]) -> jax.Array:
    return jnp.zeros(shape, jnp.float32)


def _product(a: jax.Array, b: jax.Array, axis: int, of_b: int) -> jax.Array:
    """Sum over an axis of a and one of b, in fp32."""
    contracted = (((axis,), (of_b,)), ((), ()))
    return lax.dot_general(a, b, contracted, preferred_element_type=jnp.float32)
