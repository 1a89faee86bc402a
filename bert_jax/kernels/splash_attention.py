"""Attention by the splash kernel of Pallas, for TPUs.

The kernel walks over blocks of queries and keys with a running softmax (Dao et al. 2022,
https://arxiv.org/abs/2205.14135), so that no array [B, N, L, L] exists, forward or backward. It is
jax's own (`jax.experimental.pallas.ops.tpu.splash_attention`); here lies what BERT adds: instance
ids as its segments, lengths that are no multiple of a block, and the scale.
"""

import functools
import math

import jax
import jax.numpy as jnp

from bert_jax.kernels.attention import (
    AttentionMask,
    Place,
    instance_ids_of,
    refuse_dropout,
    unplaced,
)

_LANES = 128  # a block is a multiple of a TPU's vector registers
_LONGEST_BLOCK = 512


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: AttentionMask | None,
    rate: float,
    seed: jax.Array | None,
    *,
    place: Place = unplaced,
    interpret: bool = False,
) -> jax.Array:
    """Return attention weights · value; see `attention.attend_plainly`.

    Padding sees padding here, where it sees real tokens there: nobody reads what comes of it.

    Args:
        query, key, value, mask, rate, seed: see `attention.attend_plainly`.
        place: spreads a function of query, key, value [B, L, N, H] and instance ids [B, L] over
            devices; a kernel, unlike all else, is not cut by XLA's partitioner.
        interpret: run the kernel without a TPU, slowly.

    Raises:
        UserError: attention weights are to be dropped, or a mask that is not made of instance ids.
    """
    refuse_dropout("splash", rate, seed)
    ids = instance_ids_of(mask, query, kernel="splash")
    kernel = functools.partial(_attend_within, interpret=interpret)
    return place(kernel)(query, key, value, ids)


def _attend_within(
    query: jax.Array, key: jax.Array, value: jax.Array, ids: jax.Array, *, interpret: bool
) -> jax.Array:
    # Here and not above: experimental, wanted on TPUs only, and slow to import.
    from jax.experimental.pallas.ops.tpu import splash_attention as splash

    length, heads = query.shape[1:3]
    padded = _LANES * math.ceil(length / _LANES)
    block = math.gcd(padded, _LONGEST_BLOCK)
    kernel = splash.make_splash_mha_single_device(
        splash.MultiHeadMask([splash.FullMask((padded, padded))] * heads),
        block_sizes=splash.BlockSizes(
            block_q=block, block_kv=block,
            block_q_dkv=block, block_kv_dkv=block, block_q_dq=block, block_kv_dq=block,
        ),
        interpret=interpret,
    )  # fmt: skip

    def blocked(x: jax.Array) -> jax.Array:  # [B, L, N, H] -> [B, N, whole blocks, H]
        return jnp.pad(x.swapaxes(1, 2), ((0, 0), (0, 0), (0, padded - length), (0, 0)))

    ids = jnp.pad(ids, ((0, 0), (0, padded - length)))  # what is added is padding too
    scaled = query * query.shape[-1] ** -0.5
    segments = splash.SegmentIds(ids, ids)
    mixed = jax.vmap(kernel)(blocked(scaled), blocked(key), blocked(value), segments)
    return mixed[:, :, :length].swapaxes(1, 2)
