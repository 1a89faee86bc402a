"""The tables of parts that are no tables: the vectors they give for every id."""

from __future__ import annotations

import numpy as np
from flax import nnx
from flax.traverse_util import flatten_dict

from bert_jax.convert.contents import Pretrained
from bert_jax.errors import UserError
from bert_jax.model.embeddings import PUBLISHED, Embeddings, Parts, rows_of
from bert_jax.parameters import abstract_params, merge_model
from bert_jax.tables.embedding_tables import EmbeddingTables, parts_without_table


def tables_of(pretrained: Pretrained, parts: Parts = PUBLISHED) -> EmbeddingTables:
    """Return the embedding tables of a checkpoint, whatever its parts are.

    Args:
        pretrained: from `load_pretrained`, which may have read the embeddings only.
        parts: how its model makes them; looked at where a part has no table, to ask it for the
            vector of every piece, segment or position instead.

    Raises:
        UserError: a part has no table and `parts` are not the ones of this checkpoint.
    """
    config, params = pretrained.config, pretrained.params["bert"]["embeddings"]
    missing = parts_without_table(params)
    if not missing or parts == PUBLISHED:
        return EmbeddingTables.from_params(params, pretrained.tokenizer)
    definition, wanted = abstract_params(lambda: Embeddings(config, nnx.Rngs(0), parts=parts))
    got, expected = (
        {name: leaf.shape for name, leaf in flatten_dict(tree, sep="/").items()}
        for tree in (params, wanted)
    )
    if got != expected:
        raise UserError(
            f"got `parts` with the parameters {', '.join(sorted(expected))} of other names or"
            f" shapes than the checkpoint's, {', '.join(sorted(got))}; expected those it was"
            " trained with"
        )
    made = merge_model(definition, params)
    return EmbeddingTables(
        token=np.asarray(rows_of(made.token, config.vocab_size)),
        segment=np.asarray(rows_of(made.segment, config.type_vocab_size)),
        position=np.asarray(rows_of(made.position, config.max_position_embeddings)),
        norm_scale=params["norm"]["scale"],
        norm_bias=params["norm"]["bias"],
        tokenizer=pretrained.tokenizer,
    )
