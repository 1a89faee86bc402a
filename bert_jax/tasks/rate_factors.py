"""How fast each part learns: by depth, the head apart, the frozen not at all."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from bert_jax.errors import UserError
from bert_jax.parameters import Parameters
from bert_jax.training.sharding import path_name


@dataclasses.dataclass(frozen=True)
class Rates:
    """What multiplies the learning rate of a parameter.

    ```
    layer_decay 0.5, two layers    embeddings .125   layer 0 .25   layer 1 .5   pooler, head 1
    ```
    """

    layer_decay: float = 1.0
    """Of each layer against the one above it (Howard & Ruder 2018, section 3.2)."""
    head: float = 1.0
    """Of the output layer."""
    freeze_embeddings: bool = False
    freeze_layers: int = 0
    """The first so many layers do not learn, nor do the embeddings below them."""

    def __post_init__(self) -> None:
        if not 0 < self.layer_decay <= 1:
            raise UserError(
                f"got layer_decay={self.layer_decay}; expected above 0 and at most 1 (1 decays"
                " nothing)"
            )


def frozen_paths(params: Parameters, rates: Rates) -> tuple[str, ...]:
    """The paths of what does not learn, for `bert_jax.training.freezing`.

    Args:
        params: layers unrolled.
        rates: see there.

    Raises:
        UserError: more layers to freeze than there are.
    """
    layers = len(params["bert"]["encoder"]["layers"])
    if not 0 <= rates.freeze_layers <= layers:
        raise UserError(
            f"got freeze_layers={rates.freeze_layers}; expected 0 to {layers}, the model's layers"
        )
    below = rates.freeze_embeddings or rates.freeze_layers > 0
    frozen_layers = (f"bert/encoder/layers/{layer}" for layer in range(rates.freeze_layers))
    return (*(("bert/embeddings",) if below else ()), *frozen_layers)


def rate_factors(params: Parameters, rates: Rates) -> Any:
    """Return a tree like `params` of floats that multiply the learning rate.

    Args:
        params: layers unrolled.
        rates: see there.
    """
    layers = len(params["bert"]["encoder"]["layers"])

    def factor(path: tuple[Any, ...], _: Any) -> float:
        names = path_name(path).split("/")
        if names[0] != "bert":
            return rates.head
        if names[1] == "embeddings":
            return rates.layer_decay ** (layers + 1)
        return rates.layer_decay ** (layers - int(names[3])) if names[1] == "encoder" else 1.0

    return jax.tree_util.tree_map_with_path(factor, params)
