"""The three matrix products BERT spends its time in, as values.

A module computes with the `Products` it was given. `PLAIN` is einsum, left to automatic
differentiation, forward mode too; `cpu_products.py` and `accelerator_products.py` are the same
products with backward passes that their backends do fast; `compute.py` chooses.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from bert_jax.kernels.attention import Attend, attend_plainly


def dense(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """Return x · kernel + bias in the dtype of x.

    Args:
        x: [..., in].
        kernel: [in, out], any float dtype.
        bias: [out].
    """
    return x @ kernel.astype(x.dtype) + bias.astype(x.dtype)


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


Function = Callable[..., jax.Array]


def kept(function: Function) -> Function:
    """Return `function` as it is: its backward pass keeps whatever it needs."""
    return function


@dataclasses.dataclass(frozen=True)
class Products:
    """One way to compute the three products.

    Attributes:
        dense: as `dense` above.
        attend: as `attention.attend_plainly`.
        decode: as `decode` above.
        between: what is done to the functions that stand between two products of a layer, which
            are activation, and dropout with residual and LayerNorm: `kept`, or
            `rematerialisation.recomputed`.
    """

    dense: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    attend: Attend
    decode: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    between: Callable[[Function], Function] = kept


PLAIN = Products(dense, attend_plainly, decode)
