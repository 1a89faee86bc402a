"""Attention by einsum, with a backward pass that multiplies in the model's precision.

Left to automatic differentiation, the gradient of the scores is fp32, as the softmax is, and so are
the products with query and key that it enters: in a bf16 model those run at a fraction of the speed
and move twice the memory, N·L numbers a token. Here it is rounded first, as the weights are before
they meet the values; and of the forward pass the weights are kept once, in the model's precision.
On a CPU the products of automatic differentiation also miss XLA's fast path (`cpu_products.py`).

`attend` computes what `products.attend` says. Like every function with a backward pass of its own
it refuses forward-mode differentiation (`jax.jvp`); `products.PLAIN` allows it.
"""

import functools

import jax
import jax.numpy as jnp

from bert_jax.model.allowed import Allowed
from bert_jax.model.dropout import dropout
from bert_jax.model.products import attention_weights

_Residuals = tuple[jax.Array | None, ...]


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    allowed: Allowed | None,
    rate: float,
    seed: jax.Array | None,
) -> jax.Array:
    """Return dropout(attention weights) · value; see `products.attend`."""
    return _attend_forward(query, key, value, allowed, rate, seed)[0]


def _attend_forward(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    allowed: Allowed | None,
    rate: float,
    seed: jax.Array | None,
) -> tuple[jax.Array, _Residuals]:
    weights = attention_weights(query, key, allowed).astype(value.dtype)
    mixed = jnp.einsum("BNLM,BMNH->BLNH", dropout(weights, rate, seed), value)
    return mixed, (query, key, value, weights, mixed, seed)


def _attend_backward(
    rate: float, residuals: _Residuals, g: jax.Array
) -> tuple[jax.Array | None, ...]:
    query, key, value, weights, mixed, seed = residuals
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
    dscores = dscores.astype(query.dtype)
    dquery = jnp.einsum("BNLM,BMNH->BLNH", dscores, key)
    dkey = jnp.einsum("BNLM,BLNH->BMNH", dscores, query)
    return dquery, dkey, dvalue, None, None


attend.defvjp(_attend_forward, _attend_backward)
