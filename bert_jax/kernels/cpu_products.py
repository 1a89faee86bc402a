"""The three products on a CPU, with backward passes written so that XLA takes its fast paths.

Left to automatic differentiation, XLA for CPU (seen with jax 0.10 to 0.12) folds the batch axes of
a weight gradient away, and the 2-D contraction that remains is not lowered to the fast library:
in bf16 two times slower without AMX, a hundred times with it. Contracting two axes of 3-D operands
behind an optimisation barrier, which hides their history, keeps the fast path.

The functions compute what their namesakes in `products.py` say, in the same precision. Like every
function with a backward pass of its own they refuse forward-mode differentiation (`jax.jvp`); a
model made with `products=PLAIN` and called without `rngs` allows it.
"""

import jax
import jax.numpy as jnp

from bert_jax.kernels import blocked_attention
from bert_jax.kernels.attention import attend
from bert_jax.kernels.products import Products

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
CPU_AT_WORK = Products(dense, blocked_attention.attend, decode)  # where nothing is trained
