"""The three products on a CPU, with backward passes written so that XLA takes its fast paths.

Left to automatic differentiation, XLA for CPU (seen with jax 0.10 to 0.12) folds the batch axes of
a weight gradient away, and the 2-D contraction that remains is not lowered to the fast library:
in bf16 two times slower without AMX, a hundred times with it. Contracting two axes of 3-D operands
behind an optimisation barrier, which hides their history, keeps the fast path. The two attention
products have the same fault in other places, and store more than they need.

The functions compute what their namesakes in `products.py` say, in the same precision. Like every
function with a backward pass of its own they refuse forward-mode differentiation (`jax.jvp`); a
model made with `products=PLAIN` and called without `rngs` allows it.
"""

import functools

import jax
import jax.numpy as jnp

from bert_jax.model.allowed import Allowed
from bert_jax.model.dropout import dropout
from bert_jax.model.products import Products, attention_weights

_Residuals = tuple[jax.Array, ...]


@jax.custom_vjp
def dense(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """Return x · kernel + bias in the dtype of x; see `products.dense`."""
    return x @ kernel.astype(x.dtype) + bias.astype(x.dtype)


def _dense_forward(
    x: jax.Array, kernel: jax.Array, bias: jax.Array
) -> tuple[jax.Array, _Residuals]:
    kernel_cast = kernel.astype(x.dtype)
    return x @ kernel_cast + bias.astype(x.dtype), (x, kernel_cast, kernel, bias)


def _dense_backward(residuals: _Residuals, g: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    x, kernel_cast, kernel, bias = residuals
    dx = jnp.einsum("...n,kn->...k", g, kernel_cast)
    # Exactly three axes, whatever came in: [B, L, width].
    x3, g3 = (a.reshape(-1, *a.shape[-2:]) if a.ndim > 1 else a[None, None] for a in (x, g))
    x3, g3 = jax.lax.optimization_barrier((x3, g3))
    dkernel = jnp.einsum("blk,bln->kn", x3, g3, preferred_element_type=jnp.float32)
    dbias = jnp.sum(g3, axis=(0, 1), dtype=jnp.float32)
    return dx, dkernel.astype(kernel.dtype), dbias.astype(bias.dtype)


dense.defvjp(_dense_forward, _dense_backward)


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
) -> tuple[jax.Array, tuple[jax.Array | None, ...]]:
    weights = attention_weights(query, key, allowed)
    dropped = dropout(weights, rate, seed).astype(value.dtype)
    mixed = jnp.einsum("BNLM,BMNH->BLNH", dropped, value)
    return mixed, (query, key, value, weights.astype(value.dtype), mixed, seed)


def _attend_backward(
    rate: float, residuals: tuple[jax.Array | None, ...], g: jax.Array
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


@jax.custom_vjp
def decode(hidden: jax.Array, table: jax.Array, bias: jax.Array) -> jax.Array:
    """Return hidden · tableᵀ + bias in fp32; see `products.decode`."""
    return _decode_forward(hidden, table, bias)[0]


def _decode_forward(
    hidden: jax.Array, table: jax.Array, bias: jax.Array
) -> tuple[jax.Array, _Residuals]:
    # Cast once, used by all three products: the table is the largest array of the model.
    cast = table.astype(hidden.dtype)
    logits = jnp.einsum("BPD,VD->BPV", hidden, cast, preferred_element_type=jnp.float32)
    return logits + bias, (hidden, cast, table, bias)


def _decode_backward(residuals: _Residuals, g: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    hidden, cast, table, bias = residuals
    dbias = jnp.sum(g, axis=(0, 1), dtype=jnp.float32)
    g_cast, hidden_seen = jax.lax.optimization_barrier((g.astype(hidden.dtype), hidden))
    dhidden = jnp.einsum("BPV,VD->BPD", g_cast, cast)
    dtable = jnp.einsum("BPV,BPD->VD", g_cast, hidden_seen, preferred_element_type=jnp.float32)
    return dhidden, dtable.astype(table.dtype), dbias.astype(bias.dtype)


decode.defvjp(_decode_forward, _decode_backward)


CPU = Products(dense, attend, decode)
