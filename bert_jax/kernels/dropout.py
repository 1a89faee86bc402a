"""Dropout whose mask is a counter hash: nothing stored, the same under any device layout.

Whether an element is kept depends on a seed and on its index in the global array alone. XLA fuses
the hash into whatever uses the mask and computes it again in the backward pass, so no mask is ever
kept in memory, and a sharded program drops the very elements a single device would.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bert_jax.bit_mixing import mixed


def dropout_seed(rngs: nnx.Rngs | None, rate: float) -> jax.Array | None:
    """Draw the seed [2] uint32 of one dropout mask, or None where nothing is dropped."""
    if rngs is None or rate == 0:
        return None
    return jax.random.key_data(rngs.dropout()).reshape(-1)[:2]


def keep_mask(seed: jax.Array, rate: float, shape: tuple[int, ...]) -> jax.Array:
    """Return a boolean mask of `shape`, each element True with probability 1 - rate.

    Two multiply–xorshift rounds over the element's index inside its leading row, each keyed by a
    word that mixes the seed with the row, then a comparison with the rate's threshold. Rows and
    columns are hashed apart so that arrays of more than 2^32 elements never repeat themselves.

    Args:
        seed: [2] uint32, see `dropout_seed`.
        rate: the probability of dropping, at least 0 and below 1.
        shape: any shape; a leading row must have fewer than 2^32 elements.
    """
    rows = shape[0] if len(shape) > 1 else 1
    columns = shape[1:] if len(shape) > 1 else shape
    word_0, word_1 = row_words(seed, rows)
    word_0, word_1 = (jnp.expand_dims(w, range(1, len(columns) + 1)) for w in (word_0, word_1))
    index = jnp.zeros((1, *columns), jnp.uint32)
    for axis in range(len(columns)):
        stride = np.uint32(math.prod(columns[axis + 1 :]))
        index += jax.lax.broadcasted_iota(jnp.uint32, (1, *columns), axis + 1) * stride
    return is_kept(index, word_0, word_1, rate).reshape(shape)


def row_words(seed: jax.Array, rows: int) -> tuple[jax.Array, jax.Array]:
    """Return two words [rows] uint32 that key the hash of each leading row."""
    row = jax.lax.iota(jnp.uint32, rows)
    return (
        mixed(row ^ seed[0], 0x7FEB352D, 0x846CA68B),
        mixed(row + seed[1], 0x9E3779B1, 0x85EBCA77),
    )


def is_kept(index: jax.Array, word_0: jax.Array, word_1: jax.Array, rate: float) -> jax.Array:
    """Return whether elements of these indices inside a row are kept: the hash itself.

    Args:
        index: uint32, any shape.
        word_0, word_1: of the row, see `row_words`, in shapes that broadcast with it.
        rate: the probability of dropping.
    """
    h = (index ^ word_0) * np.uint32(0x7FEB352D)
    h = ((h ^ (h >> 15)) + word_1) * np.uint32(0x846CA68B)
    h ^= h >> 16
    return h >= np.uint32(round(rate * 2**32))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _drop(x: jax.Array, rate: float, seed: jax.Array) -> jax.Array:
    scale = jnp.asarray(1 / (1 - rate), x.dtype)
    return jnp.where(keep_mask(seed, rate, x.shape), x * scale, jnp.zeros((), x.dtype))


def _drop_forward(x: jax.Array, rate: float, seed: jax.Array) -> tuple[jax.Array, jax.Array]:
    return _drop(x, rate, seed), seed


def _drop_backward(rate: float, seed: jax.Array, g: jax.Array) -> tuple[jax.Array, None]:
    return _drop(g, rate, seed), None


_drop.defvjp(_drop_forward, _drop_backward)


def dropout(x: jax.Array, rate: float, seed: jax.Array | None) -> jax.Array:
    """Set elements of x to zero with probability `rate` and scale the others by 1 / (1 - rate).

    Args:
        x: any shape.
        rate: the probability of dropping, at least 0 and below 1.
        seed: [2] uint32 from `dropout_seed`; None returns x.
    """
    return x if seed is None else _drop(x, rate, seed)
