"""Frozen parameters: no gradient, no update, no weight decay, no optimiser state.

    params      bert/embeddings/token   bert/embeddings/norm   bert/encoder   mlm
    frozen      bert/embeddings/token
    trained                             bert/embeddings/norm   bert/encoder   mlm

The step differentiates with respect to the trained part alone and the optimiser is given nothing
else, so whatever it does (clipping, decay, trust ratios, moments) it does to that part only, and
frozen arrays pass through a step as they are.

A run names what it freezes:

    token,position          of the three embedding tables, those
    embeddings              all three, and the LayerNorm over their sum
    embeddings,layers:4     these and the first four layers
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from flax.traverse_util import flatten_dict, unflatten_dict

from bert_jax.config import BertConfig
from bert_jax.errors import UserError
from bert_jax.parameters import Parameters
from bert_jax.settings import names_in
from bert_jax.tables.embedding_tables import PARTS

_EMBEDDINGS, _LAYERS = "embeddings", "layers:"


@dataclasses.dataclass(frozen=True)
class Frozen:
    """What a run leaves as it is.

    Attributes:
        tables: of token, segment and position, in this order.
        norm: whether the LayerNorm over their sum, too, which `embeddings` says.
        layers: so many, from the first.
    """

    tables: tuple[str, ...] = ()
    norm: bool = False
    layers: int = 0

    @classmethod
    def named(cls, freeze: str | Sequence[str] | None) -> Frozen:
        """Read the names.

        Raises:
            UserError: one that is none, or two numbers of layers.
        """
        names = names_in(freeze)
        counts = [name.removeprefix(_LAYERS) for name in names if name.startswith(_LAYERS)]
        known = all(name in (*PARTS, _EMBEDDINGS) or name.startswith(_LAYERS) for name in names)
        if not known or len(counts) > 1 or not all(n.isdecimal() and int(n) for n in counts):
            raise UserError(
                f"got freeze={','.join(names)}; expected some of {', '.join(PARTS)}, {_EMBEDDINGS}"
                f" (all of these and their LayerNorm) and {_LAYERS}N (the first N layers),"
                " separated by commas"
            )
        norm = _EMBEDDINGS in names
        tables = tuple(part for part in PARTS if norm or part in names)
        return cls(tables, norm, int(counts[0]) if counts else 0)

    def __str__(self) -> str:
        """The names again, in one order."""
        names = [_EMBEDDINGS] if self.norm else list(self.tables)
        return ",".join(names + [f"{_LAYERS}{self.layers}"] * bool(self.layers))

    def paths(self, config: BertConfig) -> tuple[str, ...]:
        """The paths of the parameters, for `split_frozen`.

        Raises:
            UserError: the model has fewer layers.
        """
        if self.layers > config.num_hidden_layers:
            raise UserError(
                f"got freeze={self} for a model of {config.num_hidden_layers} layers; expected at"
                f" most {_LAYERS}{config.num_hidden_layers}"
            )
        norm = ("norm",) if self.norm else ()
        return (
            *(f"bert/embeddings/{part}" for part in (*self.tables, *norm)),
            *(f"bert/encoder/layers/{i}" for i in range(self.layers)),
        )


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
