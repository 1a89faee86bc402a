"""Which products a model gets by default: the one place that asks for the backend."""

import jax

from bert_jax.model import cpu_products
from bert_jax.model.products import PLAIN, Products


def default_products() -> Products:
    """Return the products that suit the backend jax runs on.

    To compile on one machine for another (for a TPU topology on a CPU host), pass
    `products.PLAIN` to the model instead.
    """
    return cpu_products.CPU if jax.default_backend() == "cpu" else PLAIN
