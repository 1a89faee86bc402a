"""Bert, the whole model; its two pretraining heads; and Bert with one or both of them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.arguments import expect
from bert_jax.config import BertConfig
from bert_jax.errors import UserError
from bert_jax.kernels.activations import ACTIVATIONS
from bert_jax.kernels.compute import Compute
from bert_jax.kernels.copies import by_copy
from bert_jax.model.embeddings import (
    PUBLISHED,
    Embeddings,
    InputRepresentation,
    LayerNorm,
    Parts,
    normal_table,
    rows_of,
)
from bert_jax.model.encoder import Dense, Encoder, as_attention_mask
from bert_jax.model.pretrainable import Pretrainable


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BertOutput:
    """What `Bert` computed; the optional parts are None where not asked for."""

    last_hidden_state: jax.Array  # [B, L, D]
    pooler_output: jax.Array | None  # [B, D], or [B, I, D] with cls_positions; None: no pooler
    hidden_states: tuple[jax.Array, ...] | None  # embeddings, then after each layer: [B, L, D]
    attentions: tuple[jax.Array, ...] | None  # of each layer: [B, N, L, L] fp32
    embeddings: InputRepresentation | None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LogitsOutput(BertOutput):
    """What a model with one output layer computed; the shape of `logits` is at each class."""

    logits: jax.Array  # fp32


def fields_of(output: BertOutput) -> dict[str, Any]:
    """Return what a `Bert` computed by name, for the output of a model that has one."""
    return {field.name: getattr(output, field.name) for field in dataclasses.fields(BertOutput)}


class Pooler(nnx.Module):
    """tanh of a dense layer over the hidden state of [CLS]: one vector per sequence."""

    def __init__(self, config: BertConfig, rngs: nnx.Rngs, compute: Compute):
        width = config.hidden_size
        self.dense = Dense(width, width, config.initializer_range, rngs=rngs, compute=compute)

    def __call__(self, cls_states: jax.Array) -> jax.Array:
        """Map hidden states of [CLS] tokens [..., D] to [..., D]."""
        return jnp.tanh(self.dense(cls_states).astype(jnp.float32)).astype(cls_states.dtype)


class Bert(nnx.Module, Pretrainable):
    """BERT: embeddings, encoder, pooler. Devlin et al. 2018 (https://arxiv.org/abs/1810.04805).

    The module holds parameters only, in fp32; randomness is an argument of the call.

        >>> bert = Bert(BertConfig.tiny(vocab_size=100), nnx.Rngs(0))
        >>> output = bert([[2, 5, 7, 3]], output_embeddings=True)
        >>> output.last_hidden_state.shape, output.embeddings.token.shape
        ((1, 4, 128), (1, 4, 128))

    Args:
        config: sizes and choices.
        rngs: where the initial parameters' randomness comes from, such as `nnx.Rngs(0)`.
        compute: how to compute; None is `Compute()`, float32 by what suits the backend.
        parts: how the three parts of the input representation are made.
        pooler: False leaves the pooler out, as tasks do that look at every position.
    """

    def __init__(
        self,
        config: BertConfig,
        rngs: nnx.Rngs,
        compute: Compute | None = None,
        parts: Parts = PUBLISHED,
        *,
        pooler: bool = True,
    ):
        expect("config", config, BertConfig, "a BertConfig, such as BertConfig.base()")
        compute = compute or Compute()
        self.embeddings = Embeddings(config, rngs, compute, parts)
        self.encoder = Encoder(config, rngs, compute)
        self.pooler = Pooler(config, rngs, compute) if pooler else None
        self.config = config

    def __call__(
        self,
        input_ids: Any,
        token_type_ids: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        cls_positions: Any = None,
        *,
        rngs: nnx.Rngs | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        output_embeddings: bool = False,
    ) -> BertOutput:
        """Encode a batch.

        Args:
            input_ids: [B, L].
            token_type_ids: [B, L] segments; None means 0 everywhere.
            attention_mask: [B, L], 0 at padding, and equal where positions see each other: 0 and 1,
                or the instance ids of packed rows; or [B, L, L], true where a query (second axis)
                may look at a key (third). See `AttentionMask`.
            position_ids: [B, L]; None means 0 … L - 1.
            cls_positions: [B, I], where the [CLS] of each packed instance stands; None means one
                instance a row, at position 0, and takes the axis I out of the outputs.
            rngs: gives dropout its randomness; None drops nothing.
            output_hidden_states: also return every layer's hidden states.
            output_attentions: also return every layer's attention maps.
            output_embeddings: also return the three parts of the input representation.

        Raises:
            UserError: wrong dtype or shape, an id outside its table, inputs too long.
        """
        representation = self.embeddings(input_ids, token_type_ids, position_ids, rngs=rngs)
        rows, length, _ = representation.output.shape
        encoded = self.encoder(
            representation.output,
            as_attention_mask(attention_mask, rows, length),
            rngs=rngs,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        last = encoded.last_hidden_state
        cls_states = last[:, 0] if cls_positions is None else gather_positions(last, cls_positions)
        return BertOutput(
            last_hidden_state=last,
            pooler_output=None if self.pooler is None else self.pooler(cls_states),
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
            embeddings=representation if output_embeddings else None,
        )


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


class MaskedLMHead(nnx.Module):
    """Transform, LayerNorm, then a score for every vocabulary piece.

    The scores are products with the token table itself ("tied") plus a bias of the head's own.
    The table is an argument, not a part of this module: it lives once, in the embeddings. An
    untied head has its own `decoder` [V, D].
    """

    def __init__(self, config: BertConfig, rngs: nnx.Rngs, compute: Compute):
        width, deviation = config.hidden_size, config.initializer_range
        self.transform = Dense(width, width, deviation, rngs=rngs, compute=compute)
        self.norm = LayerNorm(width, config.layer_norm_eps)
        self.bias = nnx.Param(jnp.zeros((config.vocab_size,), jnp.float32))
        self.pieces = config.vocab_size
        self.tied = config.tie_word_embeddings
        if not self.tied:
            self.decoder = normal_table(rngs, (config.vocab_size, width), deviation)
        self.activation = ACTIVATIONS[config.hidden_act]
        self.products = compute.products

    def __call__(self, hidden: jax.Array, token_table: jax.Array | None) -> jax.Array:
        """Score the vocabulary at each of the given hidden states.

        Args:
            hidden: [B, P, D], gathered at the masked positions already: the product below is the
                most expensive of the model, and six positions in seven have nothing to predict.
            token_table: [V, D] when tied, or copies of it (`by_copy`), else None. Where table and
                bias have more rows than the vocabulary has pieces, so that devices can share them
                evenly, those beyond it get the lowest score there is: no probability, no gradient.

        Returns:
            fp32 logits [B, P, V].
        """
        transformed = self.norm(self.activation(self.transform(hidden))).astype(hidden.dtype)
        table = self.decoder[...] if token_table is None else token_table
        logits = by_copy(
            lambda table, hidden: self.products.decode(hidden, table, self.bias[...]),
            table,
            transformed,
        )
        if logits.shape[-1] == self.pieces:
            return logits
        is_piece = jnp.arange(logits.shape[-1]) < self.pieces
        return jnp.where(is_piece, logits, jnp.finfo(logits.dtype).min)


class NextSentenceHead(nnx.Module):
    """Does the second segment follow the first? Two scores: 0 it follows, 1 it is random."""

    def __init__(self, config: BertConfig, rngs: nnx.Rngs, compute: Compute):
        self.dense = Dense(
            config.hidden_size, 2, config.initializer_range, rngs=rngs, compute=compute
        )

    def __call__(self, pooled: jax.Array) -> jax.Array:
        """Map pooled vectors [..., D] to fp32 logits [..., 2]."""
        return self.dense(pooled.astype(jnp.float32))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PretrainingOutput(BertOutput):
    """What `BertForPreTraining` computed."""

    mlm_logits: jax.Array  # [B, P, V] fp32; [B, L, V] without masked_positions
    nsp_logits: jax.Array  # [B, 2] fp32, or [B, I, 2] with cls_positions


class BertForPreTraining(nnx.Module, Pretrainable):
    """Bert with the masked-LM and the next-sentence head.

    Args:
        config: sizes and choices; `tie_word_embeddings` decides whether the masked-LM head uses
            the token table or one of its own.
        rngs, compute, parts: as for `Bert`.
    """

    def __init__(
        self,
        config: BertConfig,
        rngs: nnx.Rngs,
        compute: Compute | None = None,
        parts: Parts = PUBLISHED,
    ):
        compute = compute or Compute()
        self.bert = Bert(config, rngs, compute, parts)
        self.mlm = MaskedLMHead(config, rngs, compute)
        self.nsp = NextSentenceHead(config, rngs, compute)

    def __call__(
        self,
        input_ids: Any,
        token_type_ids: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        cls_positions: Any = None,
        masked_positions: Any = None,
        *,
        rngs: nnx.Rngs | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        output_embeddings: bool = False,
    ) -> PretrainingOutput:
        """Encode a batch and score vocabulary and next sentence.

        Args:
            input_ids: [B, L]; this and all below but the masked positions as for `Bert`.
            token_type_ids: [B, L].
            attention_mask: [B, L] or [B, L, L].
            position_ids: [B, L].
            cls_positions: [B, I].
            masked_positions: [B, P], where to score the vocabulary; None scores it everywhere,
                which costs L / P times as much.
            rngs: gives dropout its randomness; None drops nothing.
            output_hidden_states: also return every layer's hidden states.
            output_attentions: also return every layer's attention maps.
            output_embeddings: also return the three parts of the input representation.

        Raises:
            UserError: as for `Bert`.
        """
        output = self.bert(
            input_ids,
            token_type_ids,
            attention_mask,
            position_ids,
            cls_positions,
            rngs=rngs,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            output_embeddings=output_embeddings,
        )
        return PretrainingOutput(
            **fields_of(output),
            mlm_logits=_vocabulary_scores(self, output, masked_positions),
            nsp_logits=_next_sentence_scores(self, output),
        )


# As it was spelled here before Hugging Face's spelling was taken.
BertForPretraining = BertForPreTraining


class BertForMaskedLM(nnx.Module, Pretrainable):
    """Bert with the masked-LM head alone, and no pooler.

        >>> model = BertForMaskedLM(BertConfig.tiny(vocab_size=100), nnx.Rngs(0))
        >>> model([[2, 5, 7, 3]]).logits.shape
        (1, 4, 100)

    Args:
        config, rngs, compute, parts: as for `BertForPreTraining`.
    """

    def __init__(
        self,
        config: BertConfig,
        rngs: nnx.Rngs,
        compute: Compute | None = None,
        parts: Parts = PUBLISHED,
    ):
        compute = compute or Compute()
        self.bert = Bert(config, rngs, compute, parts, pooler=False)
        self.mlm = MaskedLMHead(config, rngs, compute)

    def __call__(
        self,
        input_ids: Any,
        token_type_ids: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        masked_positions: Any = None,
        *,
        rngs: nnx.Rngs | None = None,
        **wanted: bool,
    ) -> LogitsOutput:
        """Score the vocabulary: `logits` [B, P, V], or [B, L, V] without masked_positions.

        Args and errors as for `BertForPreTraining`; `wanted` are its `output_…` switches.
        """
        output = self.bert(
            input_ids, token_type_ids, attention_mask, position_ids, rngs=rngs, **wanted
        )
        scores = _vocabulary_scores(self, output, masked_positions)
        return LogitsOutput(**fields_of(output), logits=scores)


class BertForNextSentencePrediction(nnx.Module, Pretrainable):
    """Bert with the next-sentence head alone.

    Args:
        config, rngs, compute, parts: as for `BertForPreTraining`.
    """

    def __init__(
        self,
        config: BertConfig,
        rngs: nnx.Rngs,
        compute: Compute | None = None,
        parts: Parts = PUBLISHED,
    ):
        compute = compute or Compute()
        self.bert = Bert(config, rngs, compute, parts)
        self.nsp = NextSentenceHead(config, rngs, compute)

    def __call__(
        self,
        input_ids: Any,
        token_type_ids: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        cls_positions: Any = None,
        *,
        rngs: nnx.Rngs | None = None,
        **wanted: bool,
    ) -> LogitsOutput:
        """Score the two answers: `logits` [B, 2], or [B, I, 2] with cls_positions.

        Args and errors as for `BertForPreTraining`; `wanted` are its `output_…` switches.
        """
        output = self.bert(
            input_ids, token_type_ids, attention_mask, position_ids, cls_positions, rngs=rngs,
            **wanted,
        )  # fmt: skip
        return LogitsOutput(**fields_of(output), logits=_next_sentence_scores(self, output))


def _vocabulary_scores(
    model: BertForPreTraining | BertForMaskedLM, output: BertOutput, masked_positions: Any
) -> jax.Array:
    hidden = output.last_hidden_state
    if masked_positions is not None:
        hidden = gather_positions(hidden, masked_positions)
    token = model.bert.embeddings.token
    table = rows_of(token, model.mlm.bias.shape[0]) if model.mlm.tied else None
    return model.mlm(hidden, table)


def _next_sentence_scores(
    model: BertForPreTraining | BertForNextSentencePrediction, output: BertOutput
) -> jax.Array:
    assert output.pooler_output is not None  # the Bert of both has a pooler
    return model.nsp(output.pooler_output)
