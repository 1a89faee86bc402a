"""What sits on the encoder during pretraining: pooler, masked-LM head, next-sentence head."""

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import BertConfig
from bert_jax.errors import UserError
from bert_jax.model.activations import ACTIVATIONS
from bert_jax.model.layers import Dense, LayerNorm, normal_table
from bert_jax.model.products import Products


def gather_positions(hidden: jax.Array, positions: jax.Array) -> jax.Array:
    """Pick the hidden states at some positions of each row.

        hidden     [[a b c d],     positions  [[1 3],    ->   [[b d],
                    [e f g h]]                 [0 0]]          [e e]]

    Args:
        hidden: [B, L, D].
        positions: [B, P], each from 0 to L - 1.

    Returns:
        [B, P, D].

    Raises:
        UserError: positions is not [B, P] whole numbers.
    """
    positions = jnp.asarray(positions)
    if not jnp.issubdtype(positions.dtype, jnp.integer) or (
        positions.ndim != 2 or positions.shape[0] != hidden.shape[0]
    ):
        raise UserError(
            f"got positions {positions.dtype}{list(positions.shape)} for hidden states of shape "
            f"{hidden.shape}; expected whole numbers [B, P] with B = {hidden.shape[0]}"
        )
    return jnp.take_along_axis(hidden, positions[:, :, None], axis=1)


class Pooler(nnx.Module):
    """tanh of a dense layer over the hidden state of [CLS]: one vector a sequence."""

    def __init__(self, config: BertConfig, rngs: nnx.Rngs, products: Products):
        width = config.hidden_size
        self.dense = Dense(width, width, config.initializer_range, rngs=rngs, products=products)

    def __call__(self, cls_states: jax.Array) -> jax.Array:
        """Map hidden states of [CLS] tokens [..., D] to [..., D]."""
        return jnp.tanh(self.dense(cls_states).astype(jnp.float32)).astype(cls_states.dtype)


class MaskedLMHead(nnx.Module):
    """Transform, LayerNorm, then a score for every vocabulary piece.

    The scores are products with the token table itself ("tied") plus a bias of the head's own.
    The table is an argument, not a part of this module: it lives once, in the embeddings. An
    untied head has its own `decoder` [V, D].
    """

    def __init__(self, config: BertConfig, rngs: nnx.Rngs, products: Products):
        width, deviation = config.hidden_size, config.initializer_range
        self.transform = Dense(width, width, deviation, rngs=rngs, products=products)
        self.norm = LayerNorm(width, config.layer_norm_eps)
        self.bias = nnx.Param(jnp.zeros((config.vocab_size,), jnp.float32))
        self.pieces = config.vocab_size
        self.tied = config.tie_word_embeddings
        if not self.tied:
            self.decoder = normal_table(rngs, (config.vocab_size, width), deviation)
        self.activation = ACTIVATIONS[config.hidden_act]
        self.products = products

    def __call__(self, hidden: jax.Array, token_table: jax.Array) -> jax.Array:
        """Score the vocabulary at each of the given hidden states.

        Args:
            hidden: [B, P, D], gathered at the masked positions already: the product below is the
                dearest of the model, and six positions in seven have nothing to predict.
            token_table: [V, D], used when tied. Where table and bias have more rows than the
                vocabulary has pieces, so that devices can share them evenly, those beyond it get
                the lowest score there is: no probability, no gradient.

        Returns:
            fp32 logits [B, P, V].
        """
        transformed = self.norm(self.activation(self.transform(hidden))).astype(hidden.dtype)
        table = token_table if self.tied else self.decoder[...]
        logits = self.products.decode(transformed, table, self.bias[...])
        if logits.shape[-1] == self.pieces:
            return logits
        is_piece = jnp.arange(logits.shape[-1]) < self.pieces
        return jnp.where(is_piece, logits, jnp.finfo(logits.dtype).min)


class NextSentenceHead(nnx.Module):
    """Does the second segment follow the first? Two scores: 0 it follows, 1 it is random."""

    def __init__(self, config: BertConfig, rngs: nnx.Rngs, products: Products):
        self.dense = Dense(
            config.hidden_size, 2, config.initializer_range, rngs=rngs, products=products
        )

    def __call__(self, pooled: jax.Array) -> jax.Array:
        """Map pooled vectors [..., D] to fp32 logits [..., 2]."""
        return self.dense(pooled.astype(jnp.float32))
