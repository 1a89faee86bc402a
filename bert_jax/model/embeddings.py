"""The input representation: token + segment + position embeddings, summed element by element.

Worked example, `[CLS] I like cats [SEP] I like dogs`, eight positions of width D:

    input_ids        [CLS]  I  like  cats  [SEP]  I  like  dogs
    token_type_ids     0    0    0     0     0    1    1     1
    position_ids       0    1    2     3     4    5    6     7

    row 3 of the sum = token_table[cats] + segment_table[0] + position_table[3]
    row 6 of the sum = token_table[like] + segment_table[1] + position_table[6]

Six rows of the token table are read (`I` and `like` twice each), both rows of the segment table,
the first eight of the position table; a training step changes no others, the tied decoder aside.
BERT trains on the form with a closing `[SEP]`, one more position, segment 1.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import BertConfig
from bert_jax.errors import UserError
from bert_jax.model.checks import as_ids, same_shape
from bert_jax.model.dropout import dropout, dropout_seed
from bert_jax.model.layers import LayerNorm, normal_table


class TokenEmbedding(nnx.Module):
    """What each vocabulary piece means: a table [V, D], one row a piece."""

    def __init__(self, config: BertConfig, rngs: nnx.Rngs):
        self.table = normal_table(
            rngs, (config.vocab_size, config.hidden_size), config.initializer_range
        )

    def __call__(self, input_ids: Any) -> jax.Array:
        """Look up ids [B, L] and return fp32 rows [B, L, D].

        Raises:
            UserError: not whole numbers, not [B, L], or outside the vocabulary.
        """
        size = self.table.shape[0]
        return _rows(self.table, as_ids("input_ids", input_ids, size, "the token table"))


class SegmentEmbedding(nnx.Module):
    """Which of the packed sentences a token belongs to: a table [S, D]."""

    def __init__(self, config: BertConfig, rngs: nnx.Rngs):
        self.table = normal_table(
            rngs, (config.type_vocab_size, config.hidden_size), config.initializer_range
        )

    def __call__(self, token_type_ids: Any) -> jax.Array:
        """Look up segment ids [B, L] and return fp32 rows [B, L, D].

        Raises:
            UserError: not whole numbers, not [B, L], or a segment the table lacks.
        """
        size = self.table.shape[0]
        ids = as_ids("token_type_ids", token_type_ids, size, "the segment table")
        return _rows(self.table, ids)


class PositionEmbedding(nnx.Module):
    """Where a token stands: a learned table, one row a position, [512, D] as published."""

    def __init__(self, config: BertConfig, rngs: nnx.Rngs):
        self.table = normal_table(
            rngs, (config.max_position_embeddings, config.hidden_size), config.initializer_range
        )

    def __call__(self, position_ids: Any) -> jax.Array:
        """Look up positions [B, L] and return fp32 rows [B, L, D].

        Raises:
            UserError: not whole numbers, not [B, L], or a position the table lacks.
        """
        size = self.table.shape[0]
        ids = as_ids("position_ids", position_ids, size, "the position table")
        return _rows(self.table, ids)

    def first(self, length: int) -> jax.Array:
        """Return the rows of positions 0 … length - 1 as [1, L, D].

        Raises:
            UserError: the length exceeds the table.
        """
        if length > self.table.shape[0]:
            raise UserError(
                f"got inputs of length {length}; expected at most {self.table.shape[0]}, the rows "
                "of the position table: cut the inputs, or raise max_position_embeddings and train"
            )
        return self.table[:length][None]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class InputRepresentation:
    """The three parts of the input representation, their sum, and what the encoder receives.

    Each is [B, L, D]; the parts and `sum` are fp32, `output` has the compute dtype.
    """

    token: jax.Array
    segment: jax.Array
    position: jax.Array
    sum: jax.Array
    output: jax.Array  # LayerNorm, then dropout, of the sum


class Embeddings(nnx.Module):
    """Sum of the three embeddings, then LayerNorm, then dropout.

    Each part is a module of its own and can be replaced: `model.embeddings.position = other`, or
    its table alone: `model.embeddings.position.table[...] = array`.

    Args:
        config: sizes, dropout rate, LayerNorm epsilon.
        rngs: where the tables' randomness comes from.
        dtype: compute dtype, that of the output.
    """

    def __init__(self, config: BertConfig, rngs: nnx.Rngs, dtype: Any = jnp.float32):
        self.token = TokenEmbedding(config, rngs)
        self.segment = SegmentEmbedding(config, rngs)
        self.position = PositionEmbedding(config, rngs)
        self.norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.rate = config.hidden_dropout_prob
        self.dtype = jnp.dtype(dtype)

    def __call__(
        self,
        input_ids: Any,
        token_type_ids: Any = None,
        position_ids: Any = None,
        *,
        rngs: nnx.Rngs | None = None,
    ) -> InputRepresentation:
        """Make the input representation of a batch.

        Args:
            input_ids: [B, L].
            token_type_ids: [B, L]; None means segment 0 everywhere.
            position_ids: [B, L]; None means 0 … L - 1 in every row.
            rngs: gives dropout its randomness; None drops nothing.

        Raises:
            UserError: wrong dtype or shape, an id outside its table, inputs too long.
        """
        input_ids = as_ids("input_ids", input_ids, self.token.table.shape[0], "the token table")
        token = self.token(input_ids)
        # First, because every later complaint about a long input would be harder to understand.
        default_position = self.position.first(input_ids.shape[1])
        if position_ids is None:
            position = jnp.broadcast_to(default_position, token.shape)
        else:
            position = self.position(position_ids)
            same_shape("position_ids", position[..., 0], "input_ids", input_ids)
        if token_type_ids is None:
            segment = jnp.broadcast_to(self.segment.table[0], token.shape)
        else:
            segment = self.segment(token_type_ids)
            same_shape("token_type_ids", segment[..., 0], "input_ids", input_ids)
        total = token + segment + position
        normal = self.norm(total)
        output = dropout(normal, self.rate, dropout_seed(rngs, self.rate)).astype(self.dtype)
        return InputRepresentation(token, segment, position, total, output)


def _rows(table: nnx.Param, ids: jax.Array) -> jax.Array:
    return jnp.take(table[...], ids, axis=0)
