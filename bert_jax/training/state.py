"""The train state: step, parameters, optimiser state. Nothing else needs to survive a kill."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from bert_jax.training.freezing import split_frozen


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that a step changes.

    Batches and dropout are functions of `(seed, step)`, so there is no iterator or generator
    state to keep besides these three.

    Attributes:
        step: int32 scalar, how many updates have been applied.
        params: nested dict of float32 arrays, as `nnx.to_pure_dict` gives them.
        opt_state: what the optax optimiser keeps.
    """

    step: jax.Array
    params: dict[str, Any]
    opt_state: optax.OptState


def create_state(
    params: dict[str, Any], optimizer: optax.GradientTransformation, frozen: Sequence[str] = ()
) -> TrainState:
    """The state before the first step: step 0, `params`, a fresh optimiser state.

    The optimiser keeps nothing for parameters under the paths in `frozen`.
    """
    trained, _ = split_frozen(params, frozen)
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(trained))
