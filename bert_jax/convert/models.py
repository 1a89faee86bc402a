"""From a checkpoint's contents to a model, and back."""

from __future__ import annotations

import dataclasses
import inspect
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict

from bert_jax.arguments import MOST_SEED, known_names, whole_number
from bert_jax.config import BertConfig
from bert_jax.convert.architectures import architecture_of
from bert_jax.convert.contents import Pretrained
from bert_jax.errors import UserError
from bert_jax.memory import check_fits
from bert_jax.parameters import (
    Parameters,
    abstract_params,
    merge_model,
    split_model,
    stack_layers,
    unstack_layers,
)
from bert_jax.text.tokenizer import Tokenizer

_log = logging.getLogger("bert_jax")
_LABELLED = ("BertForSequenceClassification", "BertForTokenClassification")
# What a checkpoint may lack as a whole; anything else that is missing is an error.
_DRAWN = ("bert/pooler/", "mlm/", "nsp/", "classifier/", "qa_outputs/")


@dataclasses.dataclass(frozen=True)
class Fitted:
    """Parameters that fit a model class, and what it took to fit them.

    Attributes:
        definition: the class's, for `merge_model`.
        params: all parameters of the class, layers unrolled.
        stacked: whether the class wants its layers stacked (`stack_layers`) and not unrolled.
        drawn: parts that the checkpoint lacks, drawn as at the start of training.
        unused: parts that the class lacks, left out.
    """

    definition: nnx.GraphDef
    params: Parameters
    stacked: bool
    drawn: tuple[str, ...]
    unused: tuple[str, ...]


def model_from(
    pretrained: Pretrained,
    cls: type[Any],
    *,
    seed: int = 0,
    take_over: bool = False,
    **options: Any,
) -> Any:
    """Make a model of class `cls` from a checkpoint's contents; see `from_pretrained`.

    Args:
        pretrained: from `load_pretrained`.
        cls: one of our model classes.
        seed: of what the checkpoint lacks.
        take_over: whether the model may live in the very arrays of `pretrained`, which nobody
            must then change; else it has its own.
        **options: see `from_pretrained`.

    Raises:
        UserError: weights do not fit the class; names every misfit.
    """
    for note in pretrained.notes:
        _log.info("%s", note)
    fields = {field.name for field in dataclasses.fields(BertConfig)}
    changes = {name: options.pop(name) for name in list(options) if name in fields}
    config = pretrained.config.replace(**changes)
    known_names(options, [*fields, *_arguments(cls)], cls.__name__)
    fitted = fit(pretrained, cls, config, seed=seed, **options)
    if fitted.drawn:
        _log.warning("drawn, since the checkpoint has none: %s", ", ".join(fitted.drawn))
    if fitted.unused:
        _log.info("left out, since %s has none: %s", cls.__name__, ", ".join(fitted.unused))
    params = stack_layers(fitted.params) if fitted.stacked else fitted.params
    own = jax.device_put if take_over else jnp.array
    return merge_model(fitted.definition, jax.tree.map(own, params))


def _arguments(cls: type[Any]) -> set[str]:
    """What a model class takes by name, itself or through those it inherits from."""
    own = [vars(each)["__init__"] for each in cls.__mro__ if "__init__" in vars(each)]
    found = {name: p for init in own for name, p in inspect.signature(init).parameters.items()}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name for name, p in found.items() if p.kind in named} - {"self", "config", "rngs"}


def fit(
    pretrained: Pretrained, cls: type[Any], config: BertConfig, *, seed: int, **options: Any
) -> Fitted:
    """Parameters of class `cls`, from the checkpoint where it has them, else drawn with `seed`.

    Only what is missing is computed, so that memory holds one copy of the weights.

    Args:
        pretrained: from `load_pretrained`.
        cls: one of our model classes.
        config: of the model to make; sizes must be the checkpoint's.
        seed: of what is drawn.
        **options: further arguments of the class.

    Raises:
        UserError: a weight has another shape than the class wants, or the checkpoint lacks a part
            that cannot be drawn.
    """
    whole_number("seed", seed, least=0, most=MOST_SEED)
    check_fits(config.least_bytes, f"a model of {config.vocab_size} x {config.hidden_size}")
    given = flatten_dict(pretrained.params, sep="/")
    options = _with_labels(cls, pretrained.params, options)

    def build() -> nnx.Module:
        return cls(config, nnx.Rngs(seed), **options)

    definition, laid_out = abstract_params(build)
    shapes = jax.eval_shape(unstack_layers, laid_out)
    wanted = _flat(shapes)
    missing = missing_weights(given, wanted, cls)

    def draw() -> dict[str, jax.Array]:
        values = _flat(unstack_layers(split_model(build())[1]))
        return {name: values[name] for name in missing}

    drawn = jax.device_get(jax.jit(draw)()) if missing else {}
    flat = {name: drawn[name] if name in drawn else given[name] for name in wanted}
    params = unflatten_dict(flat, sep="/")
    return Fitted(
        definition,
        params if "bert" in shapes else params["bert"],
        sorted(flatten_dict(laid_out)) != sorted(flatten_dict(shapes)),
        parts_named(missing),
        parts_named(name for name in given if name not in wanted),
    )


def missing_weights(
    given: Mapping[str, Any], wanted: Mapping[str, Any], cls: type[Any]
) -> tuple[str, ...]:
    """The names of weights that a checkpoint lacks and that may be drawn.

    Args:
        given: by name, what the checkpoint has.
        wanted: by name, what class `cls` has; anything with a shape.
        cls: to name in an error.

    Raises:
        UserError: a weight has another shape, or one that is missing cannot be drawn; names all.
    """
    missing = [name for name in wanted if name not in given]
    misfits = [
        f"{name} has shape {list(given[name].shape)} instead of {list(leaf.shape)}"
        for name, leaf in wanted.items()
        if name in given and given[name].shape != leaf.shape
    ] + [f"{name} is missing" for name in missing if not name.startswith(_DRAWN)]
    if misfits:
        raise UserError(
            f"got weights that do not fit {cls.__name__}: {'; '.join(misfits)}; expected those of "
            "a checkpoint with the same sizes"
        )
    return tuple(missing)


def pretrained_from(
    model: Any, tokenizer: Tokenizer | None = None, labels: Sequence[str] = ()
) -> Pretrained:
    """The contents of a checkpoint that holds `model`.

    Raises:
        UserError: the tokenizer has more pieces than the token table has rows, or the labels are
            not as many as the scores, or not distinct.
    """
    _, params = split_model(model)
    params = unstack_layers(params)
    bare = "bert" not in params
    params = {"bert": params} if bare else params
    pretrained = Pretrained(
        config=model.config if bare else model.bert.config,
        params=params,
        architecture=architecture_of(params, type(model).__name__),
        labels=tuple(labels),
        tokenizer=tokenizer,
    )
    check_belongs(pretrained)
    return pretrained


def check_belongs(pretrained: Pretrained) -> None:
    """Check that tokenizer and labels belong to the weights.

    Raises:
        UserError: they do not.
    """
    rows = pretrained.config.vocab_size
    if pretrained.tokenizer is not None and pretrained.tokenizer.vocab_size > rows:
        raise UserError(
            f"got a vocabulary of {pretrained.tokenizer.vocab_size} pieces for a token table of "
            f"{rows} rows; expected the vocabulary the model was trained with"
        )
    if pretrained.labels:
        head = pretrained.params.get("classifier")
        scores = None if head is None else head["kernel"].shape[1]
        if scores != len(pretrained.labels):
            raise UserError(
                f"got {len(pretrained.labels)} labels ({', '.join(pretrained.labels)}) for "
                f"{'no classifier' if scores is None else f'{scores} scores'}; expected one label"
                " per score"
            )
        if len(set(pretrained.labels)) < len(pretrained.labels):
            raise UserError(
                f"got the labels {', '.join(pretrained.labels)}; expected distinct names"
            )


def _flat(params: Parameters) -> dict[str, Any]:
    """Parameters by the names of checkpoints, in which a bare `Bert` stands under `bert`."""
    return flatten_dict(params if "bert" in params else {"bert": params}, sep="/")


def _with_labels(cls: type, params: Parameters, options: dict[str, Any]) -> dict[str, Any]:
    """Options with the number of classes a checkpoint's classifier has, where not given."""
    if cls.__name__ in _LABELLED and "classifier" in params:
        count = params["classifier"]["kernel"].shape[1]
        return {"num_labels": count, **options}
    return options


def parts_named(names: Iterable[str]) -> tuple[str, ...]:
    """The parts that weights belong to, each once.

    >>> parts_named(["mlm/transform/kernel", "mlm/bias", "bert/pooler/dense/bias"])
    ('mlm', 'bert/pooler')
    """
    parts = (name.split("/") for name in names)
    return tuple(dict.fromkeys("/".join(p[:2]) if p[0] == "bert" else p[0] for p in parts))
