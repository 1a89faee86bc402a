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

Each part is an `EmbeddingPart`, and another can stand in its place: `Parts` says which.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.nn.initializers import truncated_normal

from bert_jax.config import BertConfig
from bert_jax.errors import UserError
from bert_jax.kernels.compute import Compute
from bert_jax.kernels.copies import by_copy
from bert_jax.kernels.dropout import dropout, dropout_seed


def normal_table(rngs: nnx.Rngs, shape: tuple[int, ...], deviation: float) -> nnx.Param:
    """Draw a parameter from BERT's truncated normal: nothing beyond two deviations."""
    return nnx.Param(truncated_normal(deviation)(rngs.params(), shape, jnp.float32))


class LayerNorm(nnx.Module):
    """Normalise the last axis to mean 0 and variance 1, then scale and shift. All in fp32.

    Ba et al. 2016 (https://arxiv.org/abs/1607.06450).
    """

    def __init__(self, width: int, epsilon: float):
        self.scale = nnx.Param(jnp.ones((width,), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((width,), jnp.float32))
        self.epsilon = epsilon

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalise x [..., D] of any float dtype; the result is fp32."""
        x = x.astype(jnp.float32)
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
        normal = centred * jax.lax.rsqrt(variance + self.epsilon)
        return normal * self.scale[...] + self.bias[...]


class EmbeddingPart(Protocol):
    """What can stand in for the token, the segment or the position embedding: see `Parts`.

    Anything that is called with ids [B, L] and returns fp32 vectors [B, L, D]; `rows_of` asks it
    for the vectors of all ids. It may be a lookup in `table`, a parameter [rows, D] with one row
    per id. The row-lazy optimiser, the audit of updates and other people's checkpoints know parts
    as such tables only, and refuse one that has none.
    """

    def __call__(self, ids: jax.Array, /) -> jax.Array:
        """Return the vectors of ids [B, L], fp32 [B, L, D]."""


class TokenEmbedding(nnx.Module):
    """What each vocabulary piece means: a table [V, D], one row per piece."""

    def __init__(self, config: BertConfig, rngs: nnx.Rngs):
        self.table = normal_table(
            rngs, (config.vocab_size, config.hidden_size), config.initializer_range
        )

    def __call__(self, input_ids: Any) -> jax.Array:
        """Look up ids [B, L] and return fp32 rows [B, L, D].

        Raises:
            UserError: not whole numbers, not [B, L], or outside the vocabulary.
        """
        size = self.table.shape[-2]
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
    """Where a token is: a learned table, one row per position, [512, D] as published."""

    def __init__(self, config: BertConfig, rngs: nnx.Rngs):
        self.table = normal_table(
            rngs, (config.max_position_embeddings, config.hidden_size), config.initializer_range
        )

    def __call__(self, position_ids: Any) -> jax.Array:
        """Look up positions [B, L] and return fp32 rows [B, L, D].

        Raises:
            UserError: not whole numbers, not [B, L], a position the table lacks, or more
                positions than it has rows.
        """
        size, length = self.table.shape[0], np.shape(position_ids)[-1]
        # First, because any other complaint about a long input would be harder to understand.
        if length > size:
            raise UserError(
                f"got inputs of length {length}; expected at most {size}, the rows "
                "of the position table: cut the inputs, or raise max_position_embeddings and train"
            )
        ids = as_ids("position_ids", position_ids, size, "the position table")
        return _rows(self.table, ids)


def rows_of(part: EmbeddingPart, count: int) -> jax.Array:
    """Return the vectors of ids 0 … count - 1, [count, D]: a part's table where it has one."""
    table = getattr(part, "table", None)
    return part(jnp.arange(count, dtype=jnp.int32)[None])[0] if table is None else table[...]


@dataclasses.dataclass(frozen=True)
class Parts:
    """How a model makes the three parts of its input representation: what stands in for which.

        BertForPreTraining(config, rngs, parts=Parts(position=SinusoidalPositions))

    Each is called with the configuration and `rngs`, and returns an `EmbeddingPart`.
    """

    token: Callable[[BertConfig, nnx.Rngs], EmbeddingPart] = TokenEmbedding
    segment: Callable[[BertConfig, nnx.Rngs], EmbeddingPart] = SegmentEmbedding
    position: Callable[[BertConfig, nnx.Rngs], EmbeddingPart] = PositionEmbedding

    def replaced(self) -> dict[str, str]:
        """Return what stands in for a published part, by its name, for records and people."""
        made = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            name: getattr(make, "__qualname__", repr(make))
            for name, make in made.items()
            if make is not getattr(PUBLISHED, name)
        }


PUBLISHED = Parts()  # three learned tables


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

    Each part is a module of its own and can be replaced: by `parts` when a model is made, in an
    existing model by `model.embeddings.position = other`, or its table alone by
    `model.embeddings.position.table[...] = array`.

        >>> embeddings = Embeddings(BertConfig.tiny(vocab_size=100), nnx.Rngs(0))
        >>> found = embeddings([[2, 5, 7, 3]], [[0, 0, 1, 1]])
        >>> bool((found.token + found.segment + found.position == found.sum).all())
        True

    Args:
        config: sizes, dropout rate, LayerNorm epsilon.
        rngs: where the tables' randomness comes from.
        compute: how to compute; the output has its dtype, float32 if None.
        parts: how each part is made.
    """

    def __init__(
        self,
        config: BertConfig,
        rngs: nnx.Rngs,
        compute: Compute | None = None,
        parts: Parts = PUBLISHED,
    ):
        self.token = parts.token(config, rngs)
        self.segment = parts.segment(config, rngs)
        self.position = parts.position(config, rngs)
        self.norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.rate = config.hidden_dropout_prob
        self.dtype = (compute or Compute()).dtype

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
        input_ids = as_ids("input_ids", input_ids, None, "")
        length = input_ids.shape[1]
        shape = (*input_ids.shape, self.norm.scale.shape[0])
        if position_ids is None:
            position_ids = jnp.arange(length, dtype=jnp.int32)[None]
        else:
            position_ids = as_ids("position_ids", position_ids, None, "")
            same_shape("position_ids", position_ids, "input_ids", input_ids)
        if token_type_ids is None:
            token_type_ids = jnp.zeros((1, length), jnp.int32)
        else:
            token_type_ids = as_ids("token_type_ids", token_type_ids, None, "")
            same_shape("token_type_ids", token_type_ids, "input_ids", input_ids)
        token = _vectors("token", self.token, input_ids, shape)
        position = _vectors("position", self.position, position_ids, shape)
        segment = _vectors("segment", self.segment, token_type_ids, shape)
        total = token + segment + position
        normal = self.norm(total)
        output = dropout(normal, self.rate, dropout_seed(rngs, self.rate)).astype(self.dtype)
        return InputRepresentation(token, segment, position, total, output)


def _vectors(name: str, part: EmbeddingPart, ids: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """What a part gives for ids [B, L], or [1, L] for all rows: [B, L, D]."""
    vectors = part(ids)
    if vectors.shape != (*ids.shape, shape[-1]):
        raise UserError(
            f"got vectors of shape {vectors.shape} from the {name} embedding,"
            f" {type(part).__name__}; expected {(*ids.shape, shape[-1])}, one for each id"
        )
    return jnp.broadcast_to(vectors, shape)


def _rows(table: nnx.Param, ids: jax.Array) -> jax.Array:
    return by_copy(lambda rows, ids: jnp.take(rows, ids, axis=0), table[...], ids)


def as_ids(name: str, ids: Any, size: int | None, what: str) -> jax.Array:
    """Return ids as an int32 array [B, L] after checking shape, dtype and range.

    Args:
        name: how an error calls the argument.
        ids: whole numbers [B, L]: a jax or numpy array, or nested lists.
        size: ids must lie in 0 … size - 1; None leaves the range free.
        what: what the ids count, for the error, such as "the vocabulary".

    Raises:
        UserError: says the shape, dtype or id that was got, and what was expected.
    """
    ids = as_array(name, ids)
    if not jnp.issubdtype(ids.dtype, jnp.integer):
        raise UserError(f"got {name} of dtype {ids.dtype}; expected whole numbers such as int32")
    if ids.ndim != 2:
        hint = f"; give {name}[None] for a single row" if ids.ndim == 1 else ""
        raise UserError(f"got {name} of shape {ids.shape}; expected two axes [B, L]{hint}")
    if size is not None and ids.size and not isinstance(ids, jax.core.Tracer):
        values = np.asarray(ids)
        wrong = (values < 0) | (values >= size)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise UserError(
                f"got {name}[{row}, {column}] = {values[row, column]}; expected ids from 0 to "
                f"{size - 1}, since {what} has {size} rows"
            )
    return jnp.asarray(ids).astype(jnp.int32)


def same_shape(name: str, got: jax.Array, wanted_name: str, wanted: jax.Array) -> None:
    """Check that two arrays have one shape.

    Raises:
        UserError: they do not; names both.
    """
    if got.shape != wanted.shape:
        raise UserError(
            f"got {name} of shape {got.shape} with {wanted_name} of shape {wanted.shape}; "
            "expected the same shape"
        )


def as_array(name: str, value: Any) -> jax.Array | np.ndarray:
    """Return what a user gave as an array; nested lists become one.

    Raises:
        UserError: lists of unequal length.
    """
    if isinstance(value, jax.Array | np.ndarray):
        return value
    try:
        return np.asarray(value)
    except ValueError:
        raise UserError(
            f"got {name} as lists of unequal length; expected rows of the same length: pad them and"
            " "
            "give an attention_mask"
        ) from None
