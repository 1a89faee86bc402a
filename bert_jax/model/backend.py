"""Which products suit a backend: the one place that asks for it."""

import dataclasses

import jax

from bert_jax.model import einsum_attention
from bert_jax.model.cpu_products import CPU
from bert_jax.model.products import PLAIN, Products

_ACCELERATOR = dataclasses.replace(PLAIN, attend=einsum_attention.attend)


def products_for(backend: str) -> Products:
    """Return the products that suit "cpu", "gpu" or "tpu", which need not be this machine's."""
    return CPU if backend == "cpu" else _ACCELERATOR


def default_products() -> Products:
    """Return the products that suit the backend jax runs on.

    To compile on one machine for another (for a TPU topology on a CPU host), pass `products_for`
    the other to the model instead.
    """
    return products_for(jax.default_backend())
