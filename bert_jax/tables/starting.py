"""Start a model from given embedding tables, all three or some."""

from __future__ import annotations

from collections.abc import Collection

import jax.numpy as jnp

from bert_jax.config import BertConfig
from bert_jax.errors import UserError
from bert_jax.parameters import Parameters
from bert_jax.tables.embedding_tables import PARTS, EmbeddingTables


def with_tables(
    params: Parameters, tables: EmbeddingTables, parts: Collection[str] = PARTS
) -> Parameters:
    """Return parameters that start from given tables; all other arrays are the same.

    Args:
        params: nested dict with `bert/embeddings`, of shapes that `check_fits` found right.
        tables: what to put in.
        parts: of token, segment and position, those to take. The LayerNorm over their sum is taken
            with all three: with fewer it would normalise another sum.
    """
    given = tables.to_params()
    names = (*PARTS, "norm") if set(parts) == set(PARTS) else tuple(parts)
    new = {
        name: {leaf: jnp.asarray(array) for leaf, array in given[name].items()} for name in names
    }
    bert = params["bert"]
    return {**params, "bert": {**bert, "embeddings": {**bert["embeddings"], **new}}}


def check_fits(tables: EmbeddingTables, config: BertConfig, parts: Collection[str] = PARTS) -> None:
    """Refuse tables whose sizes are not the model's; `check_vocabulary` is another matter.

    Raises:
        UserError: another width, or another number of rows of a part that is to be taken.
    """
    if tables.width != config.hidden_size:
        raise UserError(
            f"got embedding tables of width {tables.width} for a model of width"
            f" {config.hidden_size}; expected the same: a model of that hidden_size, or other"
            " tables"
        )
    sizes = {
        "token": (config.vocab_size, "move_vocabulary"),
        "segment": (config.type_vocab_size, "resize_segments"),
        "position": (config.max_position_embeddings, "resize_positions"),
    }
    for part in parts:
        rows, (wanted, resize) = len(getattr(tables, part)), sizes[part]
        if rows != wanted:
            raise UserError(
                f"got a {part} table of {rows} rows for a model that has {wanted}; expected the"
                f" same: bert_jax.tables.{resize} makes it so, and experiments.edit_embeddings"
            )
