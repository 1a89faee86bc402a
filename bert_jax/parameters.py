"""A model as (definition, parameters): the pure form that training, checkpoints and jit use.

    definition, params = split_model(model)          params["bert"]["encoder"]["layers"]["0"]…
    output = merge_model(definition, params)(input_ids)

`params` is a plain nested dict with string keys and arrays for leaves; `definition` is hashable
and holds everything else.

The encoder's layers come layer by layer or stacked, the same numbers in two shapes:

    unrolled                                        stacked (scan_layers=True)
    layers/0/attention/query/kernel   [D, D]        layers/attention/query/kernel   [2, D, D]
    layers/1/attention/query/kernel   [D, D]

Checkpoints hold the unrolled form, whose names do not depend on how a run computes.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.errors import UserError

Parameters = dict[str, Any]


def split_model(model: nnx.Module) -> tuple[nnx.GraphDef, Parameters]:
    """Split a model into its definition and a nested dict of arrays, keys all strings."""
    definition, state = nnx.split(model)
    return definition, _with_string_keys(nnx.to_pure_dict(state))


def merge_model(definition: nnx.GraphDef, params: Parameters) -> Any:
    """Put definition and parameters together again; free under `jax.jit`."""
    return nnx.merge(definition, nnx.restore_int_paths(params))


def token_table(params: Parameters) -> Any:
    """The token table [V, D] of a model that holds a `Bert` as `bert`.

    Raises:
        UserError: its token embedding has no table.
    """
    token = params["bert"]["embeddings"].get("token", {})
    if "table" not in token:
        raise UserError(
            "got a token embedding without a `table`; expected a `TokenEmbedding`, or a run without"
            " the row-lazy optimiser and the audit of updates, which follow the rows of a table"
        )
    return token["table"]


def with_token_table(params: Parameters, table: Any) -> Parameters:
    """Return `params` with another token table; everything else is shared."""
    bert = params["bert"]
    embeddings = {**bert["embeddings"], "token": {**bert["embeddings"]["token"], "table": table}}
    return {**params, "bert": {**bert, "embeddings": embeddings}}


def abstract_params(build: Any) -> tuple[nnx.GraphDef, Parameters]:
    """Split the model `build()` would return without computing it: leaves have shape and dtype.

    Args:
        build: a function without arguments that returns a model.
    """
    return split_model(nnx.eval_shape(build))


def _with_string_keys(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    return {str(key): _with_string_keys(value) for key, value in tree.items()}


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


def with_cast_products(params: Parameters, dtype: Any) -> Parameters:
    """Return params whose encoder multiplies with matrices that are in its dtype already.

    A model casts them every time it is called; this way it is done once, and all else, which is
    computed in fp32, stays as it is.

    Args:
        params: nested dict as from `split_model`; an encoder may stand at any depth.
        dtype: that the model computes in.
    """

    def cast(path: tuple[Any, ...], leaf: Any) -> Any:
        names = [key.key for key in path]
        multiplies = "encoder" in names and names[-1] == "kernel"
        return jnp.asarray(leaf, dtype) if multiplies else leaf

    return jax.tree.map_with_path(cast, params)
