"""Which products suit a backend, and whether a loop over layers does: the one place that asks."""

import dataclasses

import jax

from bert_jax.model import einsum_attention, rounded_decoder
from bert_jax.model.cpu_products import CPU
from bert_jax.model.products import PLAIN, Products
from bert_jax.model.rematerialisation import recomputed

_ACCELERATOR = dataclasses.replace(
    PLAIN, attend=einsum_attention.attend, decode=rounded_decoder.decode, between=recomputed
)


def products_for(backend: str) -> Products:
    """Return the products that suit "cpu", "gpu" or "tpu", which need not be this machine's."""
    return CPU if backend == "cpu" else _ACCELERATOR


def default_products() -> Products:
    """Return the products that suit the backend jax runs on.

    To compile on one machine for another (for a TPU topology on a CPU host), pass `products_for`
    the other to the model instead.
    """
    return products_for(jax.default_backend())


def scans_layers(backend: str) -> bool:
    """Return whether a loop over layers, which compiles faster, suits training on a backend.

    It keeps what each layer leaves for the backward pass in arrays of all layers, written and read
    once more. On a CPU unrolled layers run up to twice as fast; on a H100 they are part of what
    took a third off the step (docs/results.md). On a TPU nobody has timed either.
    """
    return backend == "tpu"
