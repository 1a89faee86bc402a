"""What the backward pass keeps of each encoder layer, and what it computes again.

    none       keeps the results of all products, on a CPU all that it needs: fastest, most memory
    products   keeps the results of products with parameters, computes the rest again (attention
               maps among it): little time, and no array that grows with L squared
    layers     keeps each layer's input only: about a third more time, least memory

What stands between two products (activation, and dropout with residual and LayerNorm) is computed
again on accelerators whatever the choice (`recomputed`, `backend.py`). Its inputs are kept for the
products anyway, and reading them takes less time there than writing and reading what it would keep
in fp32; on a CPU it saved none.

The numbers are the same: dropout's masks are functions of a seed (`dropout.py`), so that a layer
computed again drops the same elements. Chen et al. 2016 (https://arxiv.org/abs/1604.06174).
"""

from collections.abc import Callable
from typing import Any

import jax

from bert_jax.errors import UserError

REMATERIALISATIONS = ("none", "products", "layers")


def recomputed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function`, of arrays, such that its backward pass keeps nothing but its inputs."""
    # XLA may merge the two computations where it thinks that this pays.
    return jax.checkpoint(function, prevent_cse=False)


def rematerialised(layer: Callable[..., Any], choice: str) -> Callable[..., Any]:
    """Return `layer`, a pure function of arrays, with what its backward pass keeps chosen.

    Raises:
        UserError: the choice is none of `REMATERIALISATIONS`.
    """
    if choice == "none":
        return layer
    if choice == "products":
        policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
        return jax.checkpoint(layer, policy=policy)
    if choice == "layers":
        return jax.checkpoint(layer)
    raise UserError(f"got remat={choice!r}; expected one of {', '.join(REMATERIALISATIONS)}")
