"""One vector of a text from those of its pieces: each way is a value that carries what it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Pooling:
    """A way to pool.

    Attributes:
        name: what people call it.
        of: from hidden states [B, L, D] in fp32 and a mask [B, L], which is True at real pieces
            and False at the padding behind them, to vectors [B, D].
    """

    name: str
    of: Callable[[jax.Array, jax.Array], jax.Array]


def _sum(hidden: jax.Array, weights: jax.Array) -> jax.Array:
    return (hidden * weights[..., None]).sum(axis=1)


def _count(mask: jax.Array) -> jax.Array:
    return jnp.maximum(mask.astype(jnp.float32).sum(axis=1, keepdims=True), 1.0)


def _mean(hidden: jax.Array, mask: jax.Array) -> jax.Array:
    return _sum(hidden, mask.astype(jnp.float32)) / _count(mask)


def _mean_sqrt_len(hidden: jax.Array, mask: jax.Array) -> jax.Array:
    return _sum(hidden, mask.astype(jnp.float32)) / jnp.sqrt(_count(mask))


def _weighted_mean(hidden: jax.Array, mask: jax.Array) -> jax.Array:
    weights = mask * jnp.arange(1, mask.shape[1] + 1, dtype=jnp.float32)
    return _sum(hidden, weights) / jnp.maximum(weights.sum(axis=1, keepdims=True), 1.0)


def _max(hidden: jax.Array, mask: jax.Array) -> jax.Array:
    return jnp.where(mask[..., None], hidden, -jnp.inf).max(axis=1)


def _last(hidden: jax.Array, mask: jax.Array) -> jax.Array:
    last = jnp.maximum(mask.astype(jnp.int32).sum(axis=1) - 1, 0)
    return jnp.take_along_axis(hidden, last[:, None, None], axis=1)[:, 0]


CLS = Pooling("cls", lambda hidden, mask: hidden[:, 0])
MAX = Pooling("max", _max)
MEAN = Pooling("mean", _mean)
MEAN_SQRT_LEN = Pooling("mean_sqrt_len", _mean_sqrt_len)  # the sum, divided by the root of how many
WEIGHTED_MEAN = Pooling("weighted_mean", _weighted_mean)  # a piece weighs as much as its place: 1 …
LAST = Pooling("last", _last)

POOLINGS = (CLS, MAX, MEAN, MEAN_SQRT_LEN, WEIGHTED_MEAN, LAST)
"""All, in the order in which sentence-transformers puts the vectors of several side by side."""


def unit_length(vectors: jax.Array) -> jax.Array:
    """Vectors [..., D] divided by their length; zeros stay zeros, and have a gradient."""
    squares = jnp.square(vectors).sum(axis=-1, keepdims=True)
    return vectors / jnp.sqrt(jnp.maximum(squares, 1e-24))
