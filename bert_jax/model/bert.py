"""Bert and BertForPretraining: the whole model, and the model with its two pretraining heads."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import BertConfig
from bert_jax.model.backend import default_products
from bert_jax.model.checks import as_allowed
from bert_jax.model.embeddings import Embeddings, InputRepresentation
from bert_jax.model.encoder import Encoder
from bert_jax.model.heads import MaskedLMHead, NextSentenceHead, Pooler, gather_positions
from bert_jax.model.pretrainable import Pretrainable
from bert_jax.model.products import Products


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
class PretrainingOutput(BertOutput):
    """What `BertForPretraining` computed."""

    mlm_logits: jax.Array  # [B, P, V] fp32; [B, L, V] without masked_positions
    nsp_logits: jax.Array  # [B, 2] fp32, or [B, I, 2] with cls_positions


class Bert(nnx.Module, Pretrainable):
    """BERT: embeddings, encoder, pooler. Devlin et al. 2018 (https://arxiv.org/abs/1810.04805).

    The module holds parameters only, in fp32; randomness is an argument of the call.

    Args:
        config: sizes and choices.
        rngs: where the initial parameters' randomness comes from, such as `nnx.Rngs(0)`.
        scan_layers: loop over the layers instead of unrolling them; see `Encoder`.
        dtype: compute dtype, float32 or bfloat16. Softmax, LayerNorm and logits stay fp32.
        products: how to multiply; None takes what suits the backend jax runs on.
        remat: what the backward pass computes again: none, products or layers; see
            `rematerialisation.py`.
        pooler: False leaves the pooler out, as tasks do that look at every position.
    """

    def __init__(
        self,
        config: BertConfig,
        rngs: nnx.Rngs,
        *,
        scan_layers: bool = False,
        dtype: Any = jnp.float32,
        products: Products | None = None,
        remat: str = "none",
        pooler: bool = True,
    ):
        products = products or default_products()
        self.embeddings = Embeddings(config, rngs, dtype)
        self.encoder = Encoder(config, rngs, products, scan_layers, remat)
        self.pooler = Pooler(config, rngs, products) if pooler else None
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
                may look at a key (third). See `allowed.py`.
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
            as_allowed(attention_mask, rows, length),
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


class BertForPretraining(nnx.Module, Pretrainable):
    """Bert with the masked-LM and the next-sentence head.

    Args:
        config: sizes and choices; `tie_word_embeddings` decides whether the masked-LM head uses
            the token table or one of its own.
        rngs, scan_layers, dtype, products, remat: as for `Bert`.
    """

    def __init__(
        self,
        config: BertConfig,
        rngs: nnx.Rngs,
        *,
        scan_layers: bool = False,
        dtype: Any = jnp.float32,
        products: Products | None = None,
        remat: str = "none",
    ):
        products = products or default_products()
        self.bert = Bert(
            config, rngs, scan_layers=scan_layers, dtype=dtype, products=products, remat=remat
        )
        self.mlm = MaskedLMHead(config, rngs, products)
        self.nsp = NextSentenceHead(config, rngs, products)

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
        hidden, pooled = output.last_hidden_state, output.pooler_output
        assert pooled is not None  # this class's Bert has a pooler
        if masked_positions is not None:
            hidden = gather_positions(hidden, masked_positions)
        parts = {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
        return PretrainingOutput(
            **parts,
            mlm_logits=self.mlm(hidden, self.bert.embeddings.token.table[...]),
            nsp_logits=self.nsp(pooled),
        )
