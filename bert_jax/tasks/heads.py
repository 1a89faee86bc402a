"""An output layer: what is learned at it, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.convert.contents import Pretrained
from bert_jax.data.row_layout import Batch, Rows
from bert_jax.tasks.features import Features, LabelLayout
from bert_jax.training.losses import weighted_cross_entropy
from bert_jax.training.sharding import DeviceBatch

Sums = dict[str, jax.Array]


def equal_shares(counts: np.ndarray, examples: int) -> np.ndarray:
    """Weights [C] by which all classes weigh the same together: n / (C · count)."""
    del examples
    return counts.sum() / (len(counts) * np.maximum(counts, 1))


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
        scores: how many scores the layer gives; None: one for each class; 0: there is no layer.
        sized: whether the model class is told how many scores there are.
        problem_type: Hugging Face's name of what is learned, where the model class leaves it open.
        balance: class weights [C] by which all count the same, from how often each class occurs and
            how many examples there are.
    """

    architecture: str
    model: type[Any]
    lay_labels: LabelLayout
    logits: Callable[[Any], jax.Array]
    sums: Callable[[jax.Array, DeviceBatch, int, jax.Array | None], Sums]
    per_token: bool = False
    scores: int | None = None
    sized: bool = True
    problem_type: str | None = None
    balance: Callable[[np.ndarray, int], np.ndarray] = equal_shares

    def count(self, labels: Sequence[str]) -> int:
        """How many scores the layer gives where these are the classes."""
        return len(labels) if self.scores is None else self.scores

    def options(self, labels: Sequence[str]) -> dict[str, Any]:
        """The arguments of the model class beside its sizes."""
        return {"num_labels": self.count(labels)} if self.sized else {}

    def is_of(self, pretrained: Pretrained) -> bool:
        """Whether a checkpoint is of this model class and, as far as it says, of this problem."""
        return pretrained.architecture == self.architecture and (
            self.problem_type is None or pretrained.problem_type in (None, self.problem_type)
        )


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


def means(sums: Sums) -> dict[str, jax.Array]:
    """Loss, and accuracy where the head has one; a batch of nothing counts as zero loss."""
    found = {"loss": sums["nats"] / jnp.maximum(sums["weight"], 1e-9)}
    if "hits" in sums:
        found["accuracy"] = sums["hits"] / jnp.maximum(sums["count"], 1.0)
    return found


def output_logits(output: Any) -> jax.Array:
    """The scores of a classifying model."""
    return output.logits


def sequence_labels(features: Features, rows: Rows, unit_size: int = 1) -> Batch:
    """`labels` [B, I] of whole sequences, with `weights` [B, I] 0 at empty places."""
    del unit_size
    present = rows.sequences >= 0
    labels = np.where(present, features.labels[rows.sequences], 0)
    return {"labels": labels, "weights": present.astype(np.float32)}
