"""Attention by `jax.nn.dot_product_attention`: cuDNN's kernel where there is one, else XLA's code.

jax takes cuDNN's kernel, which never keeps an array [B, N, L, L], only where it is asked for by
name. It drops no attention weights, so a model that asks for that (`attention_probs_dropout_prob`
above 0, as published) is refused while it trains; without dropout, and wherever nothing is dropped,
results are those of `attention.attend_plainly`.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from bert_jax.kernels.attention import AttentionMask, refuse_dropout

Implementation = Literal["cudnn", "xla"]


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: AttentionMask | None,
    rate: float,
    seed: jax.Array | None,
    *,
    implementation: Implementation = "xla",
) -> jax.Array:
    """Return attention weights · value; see `attention.attend_plainly`.

    A query that may look at nothing (padding) may give other numbers than there: nobody reads them.

    Args:
        query, key, value, mask, rate, seed: see there.
        implementation: "cudnn" is for NVIDIA GPUs; what cuDNN has no kernel for (`has_kernel`) is
            computed by XLA all the same.

    Raises:
        UserError: attention weights are to be dropped.
    """
    refuse_dropout("fused", rate, seed)
    allowed = None if mask is None else mask.allowed
    if implementation == "cudnn" and not has_kernel(query):
        implementation = "xla"
    if implementation == "cudnn" and allowed is not None:  # whose mask has all its rows
        allowed = jnp.broadcast_to(allowed, (*allowed.shape[:2], query.shape[1], query.shape[1]))
    return jax.nn.dot_product_attention(
        query, key, value, mask=allowed, implementation=implementation
    )


def has_kernel(query: jax.Array) -> bool:
    """Whether cuDNN's attention takes queries [B, L, N, H] of this dtype and shape."""
    length, size = query.shape[1], query.shape[3]
    half = query.dtype in (jnp.bfloat16, jnp.float16)
    return half and length % 2 == 0 and size % 8 == 0 and size <= 128
