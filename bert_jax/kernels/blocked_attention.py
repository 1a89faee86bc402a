"""Attention that holds the scores of few rows at a time: for a model at work, on a CPU.

Scores and weights are N·L numbers a token, in fp32: of 32 rows of 512 in BERT-base 403 MB each. A
few rows' fit the cache, and memory for the rest is never asked for. Each row is computed as
`attention.attend_plainly` does it, in about the same time.
"""

import jax
import jax.numpy as jnp

from bert_jax.kernels.attention import AttentionMask, attend_plainly, refuse_dropout

_SCORES_AT_ONCE = 1 << 21  # 8 MB in fp32


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: AttentionMask | None,
    rate: float,
    seed: jax.Array | None,
) -> jax.Array:
    """Return attention weights · value; see `attention.attend_plainly`.

    Raises:
        UserError: attention weights are to be dropped.
    """
    refuse_dropout("blocked", rate, seed)
    rows, length, heads, _ = query.shape
    most = max(_SCORES_AT_ONCE // (heads * length**2), 1)
    if rows <= most:
        return attend_plainly(query, key, value, mask, rate, None)
    block = max(size for size in range(1, most + 1) if rows % size == 0)

    def blocks(x: jax.Array) -> jax.Array:
        return x.reshape(rows // block, block, *x.shape[1:])

    allowed = None
    if mask is not None:
        allowed = blocks(jnp.broadcast_to(mask.allowed, (rows, *mask.allowed.shape[1:])))

    def attend_block(parts: tuple[jax.Array, jax.Array, jax.Array, jax.Array | None]) -> jax.Array:
        query, key, value, allowed = parts
        seen = None if allowed is None else AttentionMask(allowed, None)
        return attend_plainly(query, key, value, seen, rate, None)

    parts = blocks(query), blocks(key), blocks(value), allowed
    return jax.lax.map(attend_block, parts).reshape(value.shape)
