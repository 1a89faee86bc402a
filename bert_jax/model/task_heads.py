"""BERT with one output layer, for each kind of task: names and parameters as at Hugging Face.

    class                          looks at            scores
    BertForSequenceClassification  the pooled [CLS]    [B, C]         a sentence, or a pair
    BertForMultipleChoice          the pooled [CLS]    [B, choices]   one softmax over the choices
    BertForTokenClassification     every position      [B, L, C]      tagging
    BertForQuestionAnswering       every position      [B, L] twice   where an answer begins, ends
    BertForSentenceEmbedding       every position      [B, D]         no layer: their mean

Devlin et al. 2018, section 4 (https://arxiv.org/abs/1810.04805). Scores are fp32 logits.

The output layer is drawn from a normal that is not truncated, as at Hugging Face: truncation takes
an eighth off its deviation, and with it off the gradient that the encoder first gets, which decides
how long a tagger says "no entity" of everything (docs/finetuning.md).
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bert_jax.config import BertConfig
from bert_jax.errors import UserError
from bert_jax.kernels.compute import Compute
from bert_jax.kernels.dropout import dropout, dropout_seed
from bert_jax.model.bert import Bert, BertOutput, LogitsOutput, fields_of
from bert_jax.model.embeddings import PUBLISHED, Parts
from bert_jax.model.encoder import Dense
from bert_jax.model.pretrainable import Pretrainable
from bert_jax.pooling import MEAN


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class QuestionAnsweringOutput(BertOutput):
    """What `BertForQuestionAnswering` computed."""

    start_logits: jax.Array  # [B, L] fp32
    end_logits: jax.Array  # [B, L] fp32


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SentenceEmbeddingOutput(BertOutput):
    """What `BertForSentenceEmbedding` computed."""

    sentence_embeddings: jax.Array  # [B, D] fp32, or [B, I, D] with cls_positions


class BertForSequenceClassification(nnx.Module, Pretrainable):
    """One score per class for a sentence or a pair; a single class is a regression.

        >>> model = BertForSequenceClassification(BertConfig.tiny(), nnx.Rngs(0), num_labels=3)
        >>> model([[2, 5, 7, 3]]).logits.shape
        (1, 3)

    Args:
        config: sizes and choices; the head's dropout rate is `classifier_dropout`, or
            `hidden_dropout_prob` where that is None.
        rngs: where the initial parameters' randomness comes from.
        compute, parts: as for `Bert`.
        num_labels: C, how many classes.
    """

    def __init__(
        self,
        config: BertConfig,
        rngs: nnx.Rngs,
        compute: Compute | None = None,
        parts: Parts = PUBLISHED,
        *,
        num_labels: int = 2,
    ):
        compute = compute or Compute()
        self.bert = Bert(config, rngs, compute, parts)
        self.classifier = _head(config, _counted(num_labels), rngs, compute)
        self.rate = config.head_dropout

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
        """Score the classes: `logits` [B, C], or [B, I, C] with cls_positions.

        Args and errors as for `Bert`; `wanted` are its `output_…` switches.
        """
        output = self.bert(
            input_ids, token_type_ids, attention_mask, position_ids, cls_positions, rngs=rngs,
            **wanted,
        )  # fmt: skip
        pooled = _dropped(output.pooler_output, self.rate, rngs)
        return LogitsOutput(**fields_of(output), logits=self.classifier(pooled))


class BertForMultipleChoice(nnx.Module, Pretrainable):
    """One score per choice; the question is segment 0 of every choice's row.

    Args:
        config, rngs, compute, parts: as for `BertForSequenceClassification`.
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
        self.classifier = _head(config, 1, rngs, compute)
        self.rate = config.head_dropout

    def __call__(
        self,
        input_ids: Any,
        token_type_ids: Any = None,
        attention_mask: Any = None,
        *,
        rngs: nnx.Rngs | None = None,
        **wanted: bool,
    ) -> LogitsOutput:
        """Score the choices: `logits` [B, choices].

            input_ids [B, 2, L]           rows of the encoder        logits
              [[q0 c0] [q0 c1]]    ->     q0c0 q0c1 q1c0 q1c1   ->   [[s00 s01]
               [q1 c0] [q1 c1]]                                       [s10 s11]]

        Args:
            input_ids: [B, choices, L].
            token_type_ids: [B, choices, L]; None means segment 0 everywhere.
            attention_mask: [B, choices, L], true at real tokens; None allows everything.
            rngs: gives dropout its randomness; None drops nothing.
            **wanted: the `output_…` switches of `Bert`, whose outputs have B · choices rows.

        Raises:
            UserError: not three axes, or as for `Bert`.
        """
        shape = np.shape(input_ids)
        if len(shape) != 3:
            raise UserError(f"got input_ids of shape {shape}; expected three axes [B, choices, L]")

        def rows(array: Any) -> Any:
            return None if array is None else jnp.reshape(jnp.asarray(array), (-1, shape[-1]))

        output = self.bert(
            rows(input_ids), rows(token_type_ids), rows(attention_mask), rngs=rngs, **wanted
        )
        pooled = _dropped(output.pooler_output, self.rate, rngs)
        logits = self.classifier(pooled).reshape(shape[:2])
        return LogitsOutput(**fields_of(output), logits=logits)


class BertForTokenClassification(nnx.Module, Pretrainable):
    """One score per class at every position: tagging. Has no pooler.

    Args:
        config, rngs, compute, parts, num_labels: as for `BertForSequenceClassification`.
    """

    def __init__(
        self,
        config: BertConfig,
        rngs: nnx.Rngs,
        compute: Compute | None = None,
        parts: Parts = PUBLISHED,
        *,
        num_labels: int = 2,
    ):
        compute = compute or Compute()
        self.bert = Bert(config, rngs, compute, parts, pooler=False)
        self.classifier = _head(config, _counted(num_labels), rngs, compute)
        self.rate = config.head_dropout

    def __call__(
        self,
        input_ids: Any,
        token_type_ids: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        *,
        rngs: nnx.Rngs | None = None,
        **wanted: bool,
    ) -> LogitsOutput:
        """Score the classes of every position: `logits` [B, L, C].

        Args and errors as for `Bert`; `wanted` are its `output_…` switches.
        """
        output = self.bert(
            input_ids, token_type_ids, attention_mask, position_ids, rngs=rngs, **wanted
        )
        hidden = _dropped(output.last_hidden_state, self.rate, rngs)
        return LogitsOutput(**fields_of(output), logits=self.classifier(hidden))


class BertForQuestionAnswering(nnx.Module, Pretrainable):
    """How well each position starts, and how well it ends, the answer. Has no pooler.

    Args:
        config, rngs, compute, parts: as for `Bert`.
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
        self.qa_outputs = _head(config, 2, rngs, compute)

    def __call__(
        self,
        input_ids: Any,
        token_type_ids: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        *,
        rngs: nnx.Rngs | None = None,
        **wanted: bool,
    ) -> QuestionAnsweringOutput:
        """Score every position as the answer's first and as its last.

        Args and errors as for `Bert`; `wanted` are its `output_…` switches.
        """
        output = self.bert(
            input_ids, token_type_ids, attention_mask, position_ids, rngs=rngs, **wanted
        )
        scores = self.qa_outputs(output.last_hidden_state.astype(jnp.float32))
        return QuestionAnsweringOutput(
            **fields_of(output), start_logits=scores[..., 0], end_logits=scores[..., 1]
        )


class BertForSentenceEmbedding(nnx.Module, Pretrainable):
    """One vector per sentence: the mean of its last hidden states. Has no pooler and no head.

    Reimers & Gurevych 2019, Sentence-BERT (https://arxiv.org/abs/1908.10084), section 3.

    Args:
        config, rngs, compute, parts: as for `Bert`.
    """

    def __init__(
        self,
        config: BertConfig,
        rngs: nnx.Rngs,
        compute: Compute | None = None,
        parts: Parts = PUBLISHED,
    ):
        self.bert = Bert(config, rngs, compute or Compute(), parts, pooler=False)

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
    ) -> SentenceEmbeddingOutput:
        """Encode sentences: `sentence_embeddings` [B, D], or [B, I, D] with cls_positions.

        [CLS] and [SEP] count as every other token, padding does not.

        Args and errors as for `Bert`, but that a mask is [B, L]: 1 at the tokens of a row's only
        sentence, or i at those of its i-th; `wanted` are its `output_…` switches.
        """
        output = self.bert(
            input_ids, token_type_ids, attention_mask, position_ids, cls_positions, rngs=rngs,
            **wanted,
        )  # fmt: skip
        states = output.last_hidden_state.astype(jnp.float32)
        owners = jnp.ones(states.shape[:2], jnp.int32) if attention_mask is None else attention_mask
        places = 1 if cls_positions is None else cls_positions.shape[1]
        owners = jnp.asarray(owners).astype(jnp.int32)
        means = jax.vmap(lambda i: MEAN.of(states, owners == i), out_axes=1)(1 + jnp.arange(places))
        return SentenceEmbeddingOutput(
            **fields_of(output),
            sentence_embeddings=means[:, 0] if cls_positions is None else means,
        )


def _head(config: BertConfig, scores: int, rngs: nnx.Rngs, compute: Compute) -> Dense:
    return Dense(
        config.hidden_size, scores, config.initializer_range, rngs=rngs, compute=compute,
        draw=jax.nn.initializers.normal,
    )  # fmt: skip


def _counted(num_labels: int) -> int:
    if not isinstance(num_labels, int) or num_labels < 1:
        raise UserError(
            f"got num_labels={num_labels!r}; expected how many classes there are, at least 1"
        )
    return num_labels


def _dropped(x: jax.Array | None, rate: float, rngs: nnx.Rngs | None) -> jax.Array:
    """What the head sees in training: some elements of x dropped; fp32, so that logits are."""
    assert x is not None  # only models that have a pooler ask for its output
    return dropout(x.astype(jnp.float32), rate, dropout_seed(rngs, rate))
