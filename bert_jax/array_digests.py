"""Digests of arrays, by which a checkpoint knows whether it still holds what was written.

A digest is two sums over the array, modulo 2^32, of a hash of each element's bits and place:

    Σ mixed(bits + place · golden)

A sum does not mind how the array is cut over devices, and is computed where the array lies, in one
pass. `mixed` is one to one, so a change of any one element changes both sums; of changes of more,
one in 2^64 goes unseen. It guards against disks and copies, not against people.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from bert_jax.bit_mixing import mixed

_GOLDEN = np.uint32(0x9E3779B1)
_MIXES = ((0x85EBCA6B, 0xC2B2AE35), (0x7FEB352D, 0x846CA68B))  # of MurmurHash3, of Wellons 2018


def digests(tree: Any) -> dict[str, str]:
    """The digest of every array of a tree, 16 hexadecimal digits, by its path.

    {"params": {"norm": {"scale": [D]}}}  ->  {"params/norm/scale": "5f0c…"}

    Args:
        tree: arrays of up to 32 bits an element, on any devices; those of numpy go through the CPU.
    """
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): "{:08x}{:08x}".format(*_sums(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _sums(leaf: Any) -> np.ndarray:
    """uint32 [2]. Compiled for each shape, of which a model has few, and not for each tree."""
    if not isinstance(leaf, jax.Array):
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            return jax.device_get(jax.jit(_sum)(leaf))
    place = leaf.sharding
    # Every process is to have the sums of arrays that are cut over processes.
    everywhere = NamedSharding(place.mesh, P()) if isinstance(place, NamedSharding) else None
    return jax.device_get(jax.jit(_sum, out_shardings=everywhere)(leaf))


def _sum(array: jax.Array) -> jax.Array:
    bits = _bits(array)
    place = jnp.zeros(bits.shape, jnp.uint32)
    for axis in range(bits.ndim):
        stride = np.uint32(math.prod(bits.shape[axis + 1 :]) % 2**32)
        place += jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis) * stride
    keyed = bits + place * _GOLDEN
    return jnp.stack([jnp.sum(mixed(keyed, a, b), dtype=jnp.uint32) for a, b in _MIXES])


def _bits(array: jax.Array) -> jax.Array:
    """The elements' bits as uint32."""
    if array.dtype == jnp.bool_:
        return array.astype(jnp.uint32)
    size = 8 * array.dtype.itemsize
    return jax.lax.bitcast_convert_type(array, f"uint{size}").astype(jnp.uint32)
