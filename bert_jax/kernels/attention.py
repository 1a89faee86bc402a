"""Attention: who may look at whom, the weights, and their product with the values.

`attention_weights` and `attend_plainly` say what attention is, and are left to automatic
differentiation, forward mode too. `attend` computes the same with a backward pass that multiplies
in the model's precision: left alone, the gradient of the scores is fp32, as the softmax is, and so
are the products with query and key that it enters, which in a bf16 model run at a fraction of the
speed and move twice the memory, N·L numbers a token. Here it is rounded first, as the weights are
before they meet the values; and of the forward pass the weights are kept once, in the model's
precision. On a CPU the products of automatic differentiation also miss XLA's fast path
(`cpu_products.py`). Like every function with a backward pass of its own, `attend` refuses
forward-mode differentiation (`jax.jvp`).
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from bert_jax.errors import UserError
from bert_jax.kernels.dropout import dropout


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AttentionMask:
    """Which keys each query may look at.

    instance ids         allowed: rows are queries, columns keys

                         1 1 . .
    1 1 2 0       ->     1 1 . .
                         . . 1 .
                         1 1 1 .     0 is padding: nothing looks at it, and what it looks at
                                     does not matter

    Attributes:
        allowed: boolean, broadcastable to [B, N, L, L]; true where the query of the third axis may
            look at the key of the last.
        instance_ids: [B, L] int32, the same in short: 0 for padding, equal numbers where positions
            see each other; None for a mask that no such numbers describe.
    """

    allowed: jax.Array
    instance_ids: jax.Array | None


Attend = Callable[
    [jax.Array, jax.Array, jax.Array, AttentionMask | None, float, jax.Array | None], jax.Array
]

# How a kernel is spread over devices: a function of [B, L, N, H] and [B, …] to [B, L, N, H].
Kernel = Callable[..., jax.Array]
Place = Callable[[Kernel], Kernel]


def unplaced(kernel: Kernel) -> Kernel:
    """Leave a kernel to the one device there is."""
    return kernel


def within_instances(instance_ids: jax.Array) -> AttentionMask:
    """Every position sees its own instance only.

    Args:
        instance_ids: [B, L]. Boolean, true at real tokens: one instance a row, and a mask
            [B, 1, 1, L]. Whole numbers, 0 at padding: many, and a mask [B, 1, L, L].
    """
    ids = instance_ids.astype(jnp.int32)
    if instance_ids.dtype == jnp.bool:
        return AttentionMask(instance_ids[:, None, None, :], ids)
    query, key = ids[:, None, :, None], ids[:, None, None, :]
    return AttentionMask(((query == key) | (query == 0)) & (key != 0), ids)


def instance_ids_of(mask: AttentionMask | None, query: jax.Array, *, kernel: str) -> jax.Array:
    """A mask as the kernels take it: int32 [B, L], equal where positions see each other.

    Args:
        mask: None for everything.
        query: [B, L, N, H], that it is for.
        kernel: by its name, for a message.

    Raises:
        UserError: no such numbers describe it.
    """
    if mask is None:
        return jnp.ones(query.shape[:2], jnp.int32)
    if mask.instance_ids is None:
        raise UserError(
            f"got an attention_mask [B, L, L] with {kernel} attention; expected [B, L], 0 at"
            " padding and equal where positions see each other, or einsum attention"
        )
    return mask.instance_ids


def attention_weights(query: jax.Array, key: jax.Array, mask: AttentionMask | None) -> jax.Array:
    """Return softmax(query · key / √H) in fp32, [B, N, L, L]: rows are queries, columns keys.

    Args:
        query: [B, L, N, H].
        key: [B, L, N, H].
        mask: which keys each query may look at; None for everything. A query that may look at
            nothing looks at everything equally.
    """
    scale = query.shape[-1] ** -0.5
    scores = jnp.einsum("BLNH,BMNH->BNLM", query, key, preferred_element_type=jnp.float32) * scale
    if mask is not None:
        scores = jnp.where(mask.allowed, scores, jnp.finfo(jnp.float32).min)
    return jax.nn.softmax(scores, axis=-1)


def attend_plainly(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: AttentionMask | None,
    rate: float,
    seed: jax.Array | None,
) -> jax.Array:
    """Return dropout(attention weights) · value, [B, L, N, H] in the dtype of value.

    Args:
        query: [B, L, N, H].
        key: [B, L, N, H].
        value: [B, L, N, H].
        mask: see `attention_weights`.
        rate: dropout of the weights.
        seed: see `dropout`; None drops nothing.
    """
    weights = dropout(attention_weights(query, key, mask), rate, seed)
    return jnp.einsum("BNLM,BMNH->BLNH", weights.astype(value.dtype), value)


_Residuals = tuple[jax.Array | None, ...]


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: AttentionMask | None,
    rate: float,
    seed: jax.Array | None,
) -> jax.Array:
    """Return dropout(attention weights) · value; see `attend_plainly`."""
    return _attend_forward(query, key, value, mask, rate, seed)[0]


def _attend_forward(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: AttentionMask | None,
    rate: float,
    seed: jax.Array | None,
) -> tuple[jax.Array, _Residuals]:
    weights = attention_weights(query, key, mask).astype(value.dtype)
    mixed = jnp.einsum("BNLM,BMNH->BLNH", dropout(weights, rate, seed), value)
    allowed = None if mask is None else mask.allowed
    return mixed, (query, key, value, weights, mixed, allowed, seed)


def _attend_backward(
    rate: float, residuals: _Residuals, g: jax.Array
) -> tuple[jax.Array | None, ...]:
    query, key, value, weights, mixed, allowed, seed = residuals
    assert query is not None and key is not None and value is not None
    assert weights is not None and mixed is not None
    scale = query.shape[-1] ** -0.5
    dropped = dropout(weights, rate, seed)
    dvalue = jnp.einsum("BNLM,BLNH->BMNH", dropped, g)
    dweights = jnp.einsum("BLNH,BMNH->BNLM", g, value, preferred_element_type=jnp.float32)
    dweights = dropout(dweights, rate, seed)
    # The softmax's row sums of weights · dweights, from two small arrays (Dao et al. 2022).
    sums = jnp.einsum("BLNH,BLNH->BNL", g.astype(jnp.float32), mixed.astype(jnp.float32))
    dscores = weights.astype(jnp.float32) * (dweights - sums[..., None]) * scale
    if allowed is not None:  # the weights of a query that may look at nothing come of no score
        dscores = jnp.where(allowed, dscores, 0)
    dscores = dscores.astype(query.dtype)
    dquery = jnp.einsum("BNLM,BMNH->BLNH", dscores, key)
    dkey = jnp.einsum("BNLM,BLNH->BMNH", dscores, query)
    return dquery, dkey, dvalue, None, None


attend.defvjp(_attend_forward, _attend_backward)


def refuse_dropout(kernel: str, rate: float, seed: jax.Array | None) -> None:
    """Check that no attention weights are to be dropped, which fused kernels do not do.

    Raises:
        UserError: they are: there is a seed.
    """
    if seed is not None:
        raise UserError(
            f"got attention_probs_dropout_prob={rate} with {kernel} attention, which drops no"
            " attention weights; expected 0, or einsum attention"
        )
