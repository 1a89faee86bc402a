"""What the backward pass keeps of each encoder layer, and what it computes again.

    none       `keep_everything`: the results of all products, on a CPU all that it needs: fastest,
               most memory
    products   `keep_products`: the results of products with parameters; the rest is computed again
               (attention maps among it): little time, and no array that grows with L squared
    layers     `keep_inputs`: each layer's input only: about a third more time, least memory

What stands between two products (activation, and dropout with residual and LayerNorm) is computed
again on accelerators whatever the choice (`recomputed`, `accelerator_products.py`). Its inputs are
kept for the products anyway, and reading them takes less time there than writing and reading what
it would keep in fp32; on a CPU it saved none.

The numbers are the same: dropout's masks are functions of a seed (`dropout.py`), so that a layer
computed again drops the same elements. Chen et al. 2016 (https://arxiv.org/abs/1604.06174).
"""

from collections.abc import Callable
from typing import Any

import jax

from bert_jax.errors import UserError

Layer = Callable[..., Any]  # a pure function of arrays
Rematerialisation = Callable[[Layer], Layer]


def keep_everything(layer: Layer) -> Layer:
    """Return `layer` as it is."""
    return layer


def keep_products(layer: Layer) -> Layer:
    """Return `layer` such that its backward pass keeps the results of products with parameters."""
    policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    return jax.checkpoint(layer, policy=policy)


def keep_inputs(layer: Layer) -> Layer:
    """Return `layer` such that its backward pass keeps its input only."""
    return jax.checkpoint(layer)


# By the names of `remat`, the cheaper in time before the dearer.
REMATERIALISATIONS: dict[str, Rematerialisation] = {
    "none": keep_everything,
    "products": keep_products,
    "layers": keep_inputs,
}


def rematerialisation(name: str) -> Rematerialisation:
    """Return one of `REMATERIALISATIONS` by its name.

    Raises:
        UserError: there is none of that name.
    """
    if name not in REMATERIALISATIONS:
        raise UserError(f"got remat={name!r}; expected one of {', '.join(REMATERIALISATIONS)}")
    return REMATERIALISATIONS[name]


def recomputed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function`, of arrays, such that its backward pass keeps nothing but its inputs."""
    # XLA may merge the two computations where it thinks that this pays.
    return jax.checkpoint(function, prevent_cse=False)
