"""The same surgery on a whole model: configuration, parameters and tokenizer stay in step.

Everything with a row for each piece follows the vocabulary: the token table, the bias of the MLM
head and, where it is not tied, its decoder. Optimiser moments do not survive surgery: what is
edited is a model to start from, not a run to continue.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from bert_jax.config import BertConfig
from bert_jax.errors import UserError
from bert_jax.parameters import Parameters
from bert_jax.tables.row_surgery import PositionRule, resized_positions, resized_segments
from bert_jax.tables.vocabulary_surgery import NewRows, VocabularyReport, plan_vocabulary_move
from bert_jax.tables.word2vec import Word2vec, put_words
from bert_jax.text.tokenizer import Tokenizer

_A_ROW_A_PIECE = (
    ("bert", "embeddings", "token", "table"),
    ("mlm", "bias"),
    ("mlm", "decoder"),
)


@dataclasses.dataclass(frozen=True)
class ModelParts:
    """A model to be edited. Nothing is changed in place.

    Attributes:
        config: sizes.
        params: nested dict as from `split_model`; heads may be absent.
        tokenizer: None where it is not known.
    """

    config: BertConfig
    params: Parameters
    tokenizer: Tokenizer | None


@dataclasses.dataclass(frozen=True)
class MovedModel:
    """A model after its vocabulary was changed, and what became of the pieces."""

    model: ModelParts
    report: VocabularyReport


def move_model_vocabulary(
    model: ModelParts, new: Tokenizer, how: NewRows | None = None
) -> MovedModel:
    """Move a model to another vocabulary (`vocabulary_surgery.py`).

    Raises:
        UserError: the model's own vocabulary is not known.
    """
    if model.tokenizer is None:
        raise UserError(
            "got a model without a vocabulary; expected one whose pieces are known, such as a"
            " folder with a vocab.txt"
        )
    plan = plan_vocabulary_move(model.tokenizer, new, how)
    params = model.params
    for path in _A_ROW_A_PIECE:
        params = _changed(params, path, functools.partial(plan.apply, name="/".join(path)))
    config = model.config.replace(vocab_size=new.vocab_size, pad_token_id=new.pad_id)
    return MovedModel(ModelParts(config, params, new), plan.report(model.config.vocab_size))


def put_model_words(model: ModelParts, words: Word2vec) -> ModelParts:
    """Give pieces of a model the rows that they have in a file of word vectors (`put_words`)."""
    path = ("bert", "embeddings", "token", "table")
    put = functools.partial(put_words, tokenizer=model.tokenizer, words=words)
    return dataclasses.replace(model, params=_changed(model.params, path, put))


def resize_model_positions(
    model: ModelParts, positions: int, rule: PositionRule = "copy"
) -> ModelParts:
    """Give a model more or fewer positions (`resized_positions`)."""
    path = ("bert", "embeddings", "position", "table")
    params = _changed(model.params, path, lambda table: resized_positions(table, positions, rule))
    config = model.config.replace(max_position_embeddings=positions)
    return dataclasses.replace(model, config=config, params=params)


def resize_model_segments(
    model: ModelParts, segments: int, copy_of: int | None = None
) -> ModelParts:
    """Give a model more or fewer segment kinds (`resized_segments`)."""
    path = ("bert", "embeddings", "segment", "table")
    params = _changed(model.params, path, lambda table: resized_segments(table, segments, copy_of))
    config = model.config.replace(type_vocab_size=segments)
    return dataclasses.replace(model, config=config, params=params)


def _changed(
    tree: Parameters, path: tuple[str, ...], change: Callable[[np.ndarray], np.ndarray]
) -> Parameters:
    """The tree with one leaf changed; the same tree where there is no such leaf."""
    name, *rest = path
    if name not in tree:
        return tree
    value = tree[name]
    return {**tree, name: _changed(value, tuple(rest), change) if rest else change(value)}
