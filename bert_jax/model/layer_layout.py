"""The encoder's parameters, layer by layer or stacked: the same numbers in two shapes.

    unrolled                                        stacked (scan_layers=True)
    layers/0/attention/query/kernel   [D, D]        layers/attention/query/kernel   [2, D, D]
    layers/1/attention/query/kernel   [D, D]

Checkpoints hold the unrolled form, whose names do not depend on how a run computes.
"""

from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.model.parameters import Parameters


def stack_layers(params: Parameters) -> Parameters:
    """Return params with every encoder in stacked form; what is stacked already stays.

    Args:
        params: nested dict as from `split_model`; an encoder may stand at any depth.
    """
    return _map_layers(params, _stack)


def unstack_layers(params: Parameters) -> Parameters:
    """Return params with every encoder layer by layer; what is unrolled already stays.

    Args:
        params: nested dict as from `split_model`; an encoder may stand at any depth.
    """
    return _map_layers(params, _unstack)


def _map_layers(tree: Any, change: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    return {
        name: change(value) if name == "layers" else _map_layers(value, change)
        for name, value in tree.items()
    }


def _is_unrolled(layers: Parameters) -> bool:
    return all(name.isdecimal() for name in layers)


def _stack(layers: Parameters) -> Parameters:
    if not _is_unrolled(layers):
        return layers
    # By number: as text, layer 10 would come before layer 2.
    return jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *(layers[str(i)] for i in range(len(layers)))
    )


def _unstack(layers: Parameters) -> Parameters:
    if _is_unrolled(layers):
        return layers
    count = jax.tree.leaves(layers)[0].shape[0]
    return {str(i): jax.tree.map(lambda leaf, i=i: leaf[i], layers) for i in range(count)}
