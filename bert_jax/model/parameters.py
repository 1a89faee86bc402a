"""A model as (definition, parameters): the pure form that training, checkpoints and jit use.

    definition, params = split_model(model)          params["bert"]["encoder"]["layers"]["0"]…
    output = merge_model(definition, params)(input_ids)

`params` is a plain nested dict with string keys and arrays for leaves; `definition` is hashable
and holds everything else.
"""

from typing import Any

from flax import nnx

Parameters = dict[str, Any]


def split_model(model: nnx.Module) -> tuple[nnx.GraphDef, Parameters]:
    """Split a model into its definition and a nested dict of arrays, keys all strings."""
    definition, state = nnx.split(model)
    return definition, _with_string_keys(nnx.to_pure_dict(state))


def merge_model(definition: nnx.GraphDef, params: Parameters) -> Any:
    """Put definition and parameters together again; free under `jax.jit`."""
    return nnx.merge(definition, nnx.restore_int_paths(params))


def token_table(params: Parameters) -> Any:
    """The token table [V, D] of a model that holds a `Bert` as `bert`."""
    return params["bert"]["embeddings"]["token"]["table"]


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
