"""The five kinds of output layer: what is learned at it, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.model.task_heads import (
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
)
from bert_jax.tasks.layout import (
    LabelLayout,
    choice_labels,
    sequence_labels,
    span_labels,
    token_labels,
)
from bert_jax.training.losses import weighted_cross_entropy
from bert_jax.training.sharding import DeviceBatch

Sums = dict[str, jax.Array]


@dataclass(frozen=True)
class Head:
    """One kind of output layer.

    Attributes:
        architecture: Hugging Face's name of the model class.
        model: our class; a multiple-choice model is a sequence classifier with one score, whose
            parameters are the same.
        lay_labels: how labels become arrays of a batch.
        logits: picks the scores out of the model's output: [B, I, …] or, `per_token`, [B, L, …].
        sums: the loss as sums over a batch, from logits, batch, sequences of a unit, and class
            weights [C] (or None): `nats` to be divided by `weight`, and perhaps `hits` by `count`.
        per_token: whether there is a score a token, and not a sequence.
        scores: how many scores the layer gives; None: one for each class.
    """

    architecture: str
    model: type[Any]
    lay_labels: LabelLayout
    logits: Callable[[Any], jax.Array]
    sums: Callable[[jax.Array, DeviceBatch, int, jax.Array | None], Sums]
    per_token: bool = False
    scores: int | None = None


def class_sums(
    logits: jax.Array, batch: DeviceBatch, unit_size: int, class_weights: jax.Array | None
) -> Sums:
    """Cross entropy of classes: logits [B, I, C] (or [B, L, C]), labels and weights [B, I].

    With class weights, every item weighs as much as its class, in the sum and in what it is
    divided by, as in torch's `CrossEntropyLoss(weight)`.
    """
    del unit_size
    labels, present = batch["labels"], batch["weights"]
    weights = present if class_weights is None else present * class_weights[labels]
    nats, hits = weighted_cross_entropy(logits, labels, weights)
    if class_weights is not None:
        _, hits = weighted_cross_entropy(logits, labels, present)
    return {"nats": nats, "weight": jnp.sum(weights), "hits": hits, "count": jnp.sum(present)}


def value_sums(
    logits: jax.Array, batch: DeviceBatch, unit_size: int, class_weights: jax.Array | None
) -> Sums:
    """Squared errors of a regression: logits [B, I, 1], labels and weights [B, I]."""
    del unit_size, class_weights
    errors = jnp.square(logits[..., 0].astype(jnp.float32) - batch["labels"])
    return {"nats": jnp.sum(errors * batch["weights"]), "weight": jnp.sum(batch["weights"])}


def span_sums(
    logits: jax.Array, batch: DeviceBatch, unit_size: int, class_weights: jax.Array | None
) -> Sums:
    """Mean of the cross entropies of an answer's first and last token: logits [B, L, 2].

    The softmax goes over the tokens of the sequence itself, however many share its row.
    """
    del unit_size, class_weights
    weights = batch["weights"]  # [B, I]
    instances = jnp.arange(1, weights.shape[1] + 1, dtype=jnp.int32)
    own = batch["instance_ids"][:, None, :] == instances[:, None]  # [B, I, L]
    nats = jnp.zeros((), jnp.float32)
    hits = weights
    for end, labels in enumerate((batch["first_labels"], batch["last_labels"])):
        scores = jnp.where(own, logits[:, None, :, end], jnp.finfo(jnp.float32).min)
        at_label = jnp.take_along_axis(scores, labels[..., None], axis=-1)[..., 0]
        lost = jax.nn.logsumexp(scores, axis=-1) - at_label
        nats += jnp.sum(jnp.where(weights > 0, lost, 0.0) * weights) / 2
        hits *= at_label >= jnp.max(scores, axis=-1)
    count = jnp.sum(weights)
    return {"nats": nats, "weight": count, "hits": jnp.sum(hits), "count": count}


def choice_sums(
    logits: jax.Array, batch: DeviceBatch, unit_size: int, class_weights: jax.Array | None
) -> Sums:
    """Cross entropy over the choices of each question: logits [questions · choices, 1, 1]."""
    del class_weights
    scores, right, present, weights = (
        x.reshape(-1, unit_size)
        for x in (logits.astype(jnp.float32), batch["labels"], batch["choices"], batch["weights"])
    )
    scores = jnp.where(present > 0, scores, jnp.finfo(jnp.float32).min)
    at_right = jnp.sum(scores * right, axis=-1)
    asked = jnp.sum(weights, axis=-1)  # 0 where a batch is filled up
    nats = jnp.where(asked > 0, jax.nn.logsumexp(scores, axis=-1) - at_right, 0.0)
    hits = at_right >= jnp.max(scores, axis=-1)
    count = jnp.sum(asked)
    return {"nats": jnp.sum(nats), "weight": count, "hits": jnp.sum(hits * asked), "count": count}


def means(sums: Sums) -> dict[str, jax.Array]:
    """Loss, and accuracy where the head has one; a batch of nothing counts as zero loss."""
    found = {"loss": sums["nats"] / jnp.maximum(sums["weight"], 1e-9)}
    if "hits" in sums:
        found["accuracy"] = sums["hits"] / jnp.maximum(sums["count"], 1.0)
    return found


def _logits(output: Any) -> jax.Array:
    return output.logits


def _both_ends(output: Any) -> jax.Array:
    return jnp.stack([output.start_logits, output.end_logits], axis=-1)


CLASSIFICATION = Head(
    "BertForSequenceClassification", BertForSequenceClassification, sequence_labels, _logits,
    class_sums,
)  # fmt: skip
REGRESSION = Head(
    "BertForSequenceClassification", BertForSequenceClassification, sequence_labels, _logits,
    value_sums, scores=1,
)  # fmt: skip
MULTIPLE_CHOICE = Head(
    "BertForMultipleChoice", BertForSequenceClassification, choice_labels, _logits, choice_sums,
    scores=1,
)  # fmt: skip
TAGGING = Head(
    "BertForTokenClassification", BertForTokenClassification, token_labels, _logits, class_sums,
    per_token=True,
)  # fmt: skip
QUESTION_ANSWERING = Head(
    "BertForQuestionAnswering", BertForQuestionAnswering, span_labels, _both_ends, span_sums,
    per_token=True, scores=2,
)  # fmt: skip
