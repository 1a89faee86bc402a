"""Frozen parameters: no gradient, no update, no weight decay, no optimiser state.

    params      bert/embeddings/token   bert/embeddings/norm   bert/encoder   mlm
    frozen      bert/embeddings/token
    trained                             bert/embeddings/norm   bert/encoder   mlm

The step differentiates with respect to the trained part alone and the optimiser is given nothing
else, so whatever it does (clipping, decay, trust ratios, moments) it does to that part only, and
frozen arrays pass through a step as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

from flax.traverse_util import flatten_dict, unflatten_dict

from bert_jax.errors import UserError
from bert_jax.parameters import Parameters


def split_frozen(params: Parameters, frozen: Sequence[str]) -> tuple[Parameters, Parameters]:
    """Split parameters in those to train and those to leave alone.

    Args:
        params: nested dict.
        frozen: paths, such as `bert/embeddings/token`; all below one is frozen.

    Returns:
        Two nested dicts, the trained and the frozen parameters.

    Raises:
        UserError: a path with nothing below it, or nothing is left to train.
    """
    flat = flatten_dict(params, sep="/")
    kept = {
        name: leaf
        for name, leaf in flat.items()
        if any(name == path or name.startswith(f"{path}/") for path in frozen)
    }
    for path in frozen:
        if not any(name == path or name.startswith(f"{path}/") for name in kept):
            raise UserError(
                f"got {path!r} to freeze; expected the path of parameters, such as"
                " bert/embeddings/token"
            )
    if len(kept) == len(flat):
        raise UserError(f"got {', '.join(frozen)} to freeze; expected something left to train")
    trained = {name: leaf for name, leaf in flat.items() if name not in kept}
    return unflatten_dict(trained, sep="/"), unflatten_dict(kept, sep="/")


def join_frozen(trained: Parameters, kept: Parameters) -> Parameters:
    """Put together what `split_frozen` split."""
    return unflatten_dict(
        {**flatten_dict(trained, sep="/"), **flatten_dict(kept, sep="/")}, sep="/"
    )
