"""The three matrix products BERT spends its time in, as values.

A module computes with the `Products` it was given. `PLAIN` is einsum, left to automatic
differentiation, forward mode too. The backward pass of attention that all backends take is in
`einsum_attention.py`, accelerators' of the decoder in `rounded_decoder.py`, what a CPU needs beyond
that in `cpu_products.py`; `backend.py` chooses.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from bert_jax.model.allowed import Allowed
from bert_jax.model.dropout import dropout


def dense(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """Return x · kernel + bias in the dtype of x.

    Args:
        x: [..., in].
        kernel: [in, out], any float dtype.
        bias: [out].
    """
    return x @ kernel.astype(x.dtype) + bias.astype(x.dtype)


def attention_weights(query: jax.Array, key: jax.Array, allowed: Allowed | None) -> jax.Array:
    """Return softmax(query · key / √H) in fp32, [B, N, L, L]: rows are queries, columns keys.

    Args:
        query: [B, L, N, H].
        key: [B, L, N, H].
        allowed: which keys each query may look at; None for everything. A query that may look at
            nothing looks at everything equally.
    """
    scale = query.shape[-1] ** -0.5
    scores = jnp.einsum("BLNH,BMNH->BNLM", query, key, preferred_element_type=jnp.float32) * scale
    if allowed is not None:
        scores = jnp.where(allowed.mask, scores, jnp.finfo(jnp.float32).min)
    return jax.nn.softmax(scores, axis=-1)


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    allowed: Allowed | None,
    rate: float,
    seed: jax.Array | None,
) -> jax.Array:
    """Return dropout(attention weights) · value, [B, L, N, H] in the dtype of value.

    Args:
        query: [B, L, N, H].
        key: [B, L, N, H].
        value: [B, L, N, H].
        allowed: see `attention_weights`.
        rate: dropout of the weights.
        seed: see `dropout`; None drops nothing.
    """
    weights = dropout(attention_weights(query, key, allowed), rate, seed)
    return jnp.einsum("BNLM,BMNH->BLNH", weights.astype(value.dtype), value)


def decode(hidden: jax.Array, table: jax.Array, bias: jax.Array) -> jax.Array:
    """Return hidden · tableᵀ + bias in fp32, [B, P, V]: how well each vocabulary piece fits.

    Args:
        hidden: [B, P, D].
        table: [V, D], the token embedding when tied.
        bias: [V].
    """
    logits = jnp.einsum(
        "BPD,VD->BPV", hidden, table.astype(hidden.dtype), preferred_element_type=jnp.float32
    )
    return logits + bias


Attend = Callable[
    [jax.Array, jax.Array, jax.Array, Allowed | None, float, jax.Array | None], jax.Array
]


Function = Callable[..., jax.Array]


def kept(function: Function) -> Function:
    """Return `function` as it is: its backward pass keeps whatever it needs."""
    return function


@dataclasses.dataclass(frozen=True)
class Products:
    """One way to compute the three products; the functions above say what each must do.

    Attributes:
        between: what is done to the functions that stand between two products of a layer, which
            are activation, and dropout with residual and LayerNorm: `kept`, or
            `rematerialisation.recomputed`.
    """

    dense: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    attend: Attend
    decode: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    between: Callable[[Function], Function] = kept


PLAIN = Products(dense, attend, decode)
