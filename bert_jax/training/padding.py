"""Vocabulary rows added so that a mesh can split the token table evenly.

    V = 5 over tensor:4     token table  [0 1 | 2 3 | 4 . | . .]     state on the devices, 8 rows
                            checkpoint   [0 1 2 3 4]                 5 rows, whatever the mesh

A row `.` is zeros. No id looks it up, `MaskedLMHead` never scores it, so its gradient is zero and
it stays zeros; it is cut off before anything is written, so that a checkpoint of any mesh restores
on any other.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

ROW_AXES = ("tensor", "fsdp")  # what the rows of the token table and the decoder are split over


def padded_size(vocab_size: int, mesh: Mesh) -> int:
    """The smallest multiple of what the mesh splits vocabulary rows by that is at least V."""
    ways = math.prod(mesh.shape[axis] for axis in ROW_AXES)
    return -(-vocab_size // ways) * ways


def place_cut(cut: Any, padded: Any, mesh: Mesh) -> Any:
    """The sharding of every leaf of a state as it is saved.

    Args:
        cut: shapes of the state with V vocabulary rows.
        padded: the same state as it is on the devices; leaves have shape and sharding.

    Returns:
        Where the shapes agree, the sharding of `padded`; tables that were cut are split by columns
        where that can be done, so that no device ever holds a whole one.
    """

    def sharding(leaf: Any, wide: Any) -> NamedSharding:
        if leaf.shape == wide.shape:
            return wide.sharding
        ways = math.prod(mesh.shape[axis] for axis in ROW_AXES)
        columns = leaf.ndim == 2 and leaf.shape[1] % ways == 0
        return NamedSharding(mesh, P(None, ROW_AXES) if columns else P())

    return jax.tree.map(sharding, cut, padded)


def resize(tree: Any, like: Any) -> Any:
    """Pad with zeros, or cut, every leaf to the shape and the sharding of its namesake in `like`.

    Leaves that fit are returned as they are. Global arrays; all processes call it together.
    """
    return jax.tree.map(_resize, tree, like)


def _resize(leaf: jax.Array, like: jax.ShapeDtypeStruct) -> jax.Array:
    if leaf.shape == like.shape:
        return leaf
    return jax.jit(_to_shape, static_argnums=1, out_shardings=like.sharding)(leaf, like.shape)


def _to_shape(leaf: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    kept = leaf[tuple(slice(size) for size in shape)]
    return jnp.pad(kept, [(0, n - m) for n, m in zip(shape, kept.shape, strict=True)])


def put_padded(tree: Any, like: Any) -> Any:
    """Host arrays, the same in every process, as global arrays of the shapes in `like`.

    Args:
        tree: arrays that fit in one process's memory.
        like: the same tree; leaves have a shape at least as large, a dtype and a sharding.
    """

    def put(leaf: Any, wanted: jax.ShapeDtypeStruct) -> jax.Array:
        array = np.asarray(leaf, wanted.dtype)
        width = [(0, n - m) for n, m in zip(wanted.shape, array.shape, strict=True)]
        array = np.pad(array, width) if array.shape != wanted.shape else array
        return jax.make_array_from_callback(wanted.shape, wanted.sharding, lambda i: array[i])

    return jax.tree.map(put, tree, like)
