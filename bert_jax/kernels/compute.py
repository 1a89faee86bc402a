"""How a model computes, as one value; and what suits a backend: the one place that asks."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.errors import UserError
from bert_jax.kernels.accelerator_products import ACCELERATOR
from bert_jax.kernels.cpu_products import CPU, CPU_AT_WORK
from bert_jax.kernels.products import Products
from bert_jax.kernels.rematerialisation import Rematerialisation, keep_everything

# float16 ends at 65,504, which hidden states of published models come near to; float64 is for
# checks.
_DTYPES = (jnp.dtype("float32"), jnp.dtype("bfloat16"), jnp.dtype("float64"))


def products_for(backend: str) -> Products:
    """Return the products that suit "cpu", "gpu" or "tpu", which need not be this machine's."""
    return CPU if backend == "cpu" else ACCELERATOR


def default_products() -> Products:
    """Return the products that suit the backend jax runs on.

    To compile on one machine for another (for a TPU topology on a CPU host), give `products_for`
    the other to `Compute` instead.
    """
    return products_for(jax.default_backend())


def scans_layers(backend: str) -> bool:
    """Return whether a loop over layers, which compiles faster, suits training on a backend.

    It keeps what each layer leaves for the backward pass in arrays of all layers, written and read
    once more. On a CPU unrolled layers run up to twice as fast; on a H100 they are part of what
    took a third off the step (docs/results.md). On a TPU nobody has timed either.
    """
    return backend == "tpu"


@dataclasses.dataclass(frozen=True)
class Compute:
    """How a model computes. The result is the same whatever is chosen, except for rounding.

        Compute()                                                   suits the backend, in float32
        Compute(dtype="bfloat16", rematerialise=keep_products)      faster, and smaller in training

    Attributes:
        dtype: of hidden states and products, float32 or bfloat16. Parameters, softmax, LayerNorm
            and logits stay fp32.
        scan_layers: loop over the layers instead of unrolling them: compiles faster, and runs
            slower; see `Encoder`.
        rematerialise: what the backward pass computes again: `keep_everything`, `keep_products`
            or `keep_inputs` of `rematerialisation.py`.
        products: how to multiply and attend; by default what suits the backend jax runs on.
    """

    dtype: Any = jnp.float32
    scan_layers: bool = False
    rematerialise: Rematerialisation = keep_everything
    products: Products = dataclasses.field(default_factory=default_products)

    def __post_init__(self) -> None:
        try:
            dtype = None if self.dtype is None else jnp.dtype(self.dtype)
        except TypeError:
            dtype = None
        if dtype is None or dtype not in _DTYPES:
            raise UserError(f"got dtype={self.dtype!r}; expected float32 or bfloat16") from None
        object.__setattr__(self, "dtype", dtype)

    def replace(self, **changes: Any) -> "Compute":
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def at_work(self) -> "Compute":
        """Return what suits a trained model: on a CPU, attention to few rows at a time.

        Dropout is refused then; see `blocked_attention.py`.
        """
        return self.replace(products=CPU_AT_WORK) if self.products == CPU else self
