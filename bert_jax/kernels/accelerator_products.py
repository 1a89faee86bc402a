"""The three products on a GPU or a TPU: a decoder that multiplies in the model's precision.

The logits are fp32, and so is their gradient, P·V numbers a row. Left to automatic differentiation
a bf16 model multiplies it in fp32, and the largest array of the step is written and read at twice
the width. Here it is rounded before it meets the table and the hidden states, which are bf16. The
table's gradient is bf16 too, as automatic differentiation has it and as devices send it to each
other; a CPU's is fp32 (`cpu_products.py`).

`decode` computes what `products.decode` says, and refuses forward-mode differentiation.
"""

import jax
import jax.numpy as jnp

from bert_jax.kernels import products
from bert_jax.kernels.attention import attend
from bert_jax.kernels.rematerialisation import recomputed


@jax.custom_vjp
def decode(hidden: jax.Array, table: jax.Array, bias: jax.Array) -> jax.Array:
    """Return hidden · tableᵀ + bias in fp32; see `products.decode`."""
    return products.decode(hidden, table, bias)


def _decode_forward(
    hidden: jax.Array, table: jax.Array, bias: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    return products.decode(hidden, table, bias), (hidden, table, bias)


def _decode_backward(
    residuals: tuple[jax.Array, ...], g: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    hidden, table, bias = residuals
    dbias = jnp.sum(g, axis=(0, 1)).astype(bias.dtype)
    g = g.astype(hidden.dtype)
    dhidden = jnp.einsum("BPV,VD->BPD", g, table.astype(hidden.dtype))
    dtable = jnp.einsum("BPV,BPD->VD", g, hidden)
    return dhidden, dtable.astype(table.dtype), dbias


decode.defvjp(_decode_forward, _decode_backward)


ACCELERATOR = products.Products(products.dense, attend, decode, between=recomputed)
