"""Digests of arrays, by which a checkpoint knows whether it still holds what was written.

A digest is two sums over the array, modulo 2^32, of a hash of each element's bits and place:

    Σ mix(bits + place · golden)

A sum does not mind how the array is cut over devices, and is computed where the array lies, in one
pass. `mix` is one to one, so a change of any one element changes both sums; of changes of more, one
in 2^64 goes unseen. It guards against disks and copies, not against people.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

_GOLDEN = np.uint32(0x9E3779B1)
_MIXES = ((0x85EBCA6B, 0xC2B2AE35), (0x7FEB352D, 0x846CA68B))  # of MurmurHash3, of Wellons 2018


def digests(tree: Any) -> dict[str, str]:
    """The digest of every array of a tree, 16 hexadecimal digits, by its path.

    {"params": {"norm": {"scale": [D]}}}  ->  {"params/norm/scale": "5f0c…"}

    Args:
        tree: arrays of up to 32 bits an element, on any devices; those of numpy go through the CPU.
    """
    found = jax.tree_util.tree_leaves_with_path(tree)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in found]
    leaves = [leaf for _, leaf in found]
    if not leaves:
        return {}
    on_host = not any(isinstance(leaf, jax.Array) for leaf in leaves)
    device = jax.local_devices(backend="cpu")[0] if on_host else None
    with jax.default_device(device):
        sums = jax.device_get(jax.jit(_sums, out_shardings=_everywhere(leaves))(leaves))
    return {name: f"{a:08x}{b:08x}" for name, (a, b) in zip(names, sums, strict=True)}


def changed(tree: Any, expected: Mapping[str, str]) -> list[str]:
    """The paths of arrays whose digest is not the expected one; what nobody expects is not asked.

    Args:
        tree: as for `digests`, and any part of what `expected` is of, under the same paths.
        expected: of `digests` once.
    """
    return [name for name, digest in digests(tree).items() if expected.get(name, digest) != digest]


def _sums(leaves: list[jax.Array]) -> jax.Array:
    """uint32 [n, 2], of n arrays."""
    return jnp.stack([_sum(jnp.asarray(leaf)) for leaf in leaves])


def _sum(array: jax.Array) -> jax.Array:
    bits = _bits(array)
    place = jnp.zeros(bits.shape, jnp.uint32)
    for axis in range(bits.ndim):
        stride = np.uint32(math.prod(bits.shape[axis + 1 :]) % 2**32)
        place += jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis) * stride
    keyed = bits + place * _GOLDEN
    return jnp.stack([jnp.sum(_mix(keyed, a, b), dtype=jnp.uint32) for a, b in _MIXES])


def _bits(array: jax.Array) -> jax.Array:
    """The elements' bits as uint32."""
    if array.dtype == jnp.bool_:
        return array.astype(jnp.uint32)
    size = 8 * array.dtype.itemsize
    return jax.lax.bitcast_convert_type(array, f"uint{size}").astype(jnp.uint32)


def _mix(x: jax.Array, a: int, b: int) -> jax.Array:
    x = (x ^ (x >> 16)) * np.uint32(a)
    x = (x ^ (x >> 15)) * np.uint32(b)
    return x ^ (x >> 16)


def _everywhere(leaves: list[Any]) -> NamedSharding | None:
    """So that every process has the sums of arrays that are cut over processes."""
    placed = (leaf.sharding for leaf in leaves if isinstance(leaf, jax.Array))
    meshes = (each.mesh for each in placed if isinstance(each, NamedSharding))
    mesh = next(meshes, None)
    return None if mesh is None else NamedSharding(mesh, P())
