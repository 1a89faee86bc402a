"""What a model is pretrained for: how text becomes instances, which losses are added up.

    objective      instances                       model                 losses
    MLM_AND_NSP    pairs, half of them random      BertForPreTraining    masked LM + next sentence
    MLM            plain text, one segment         BertForMaskedLM       masked LM

Sums, not means, are made of a batch: a mean over devices or microbatches of means would weigh rows
with few masked tokens too much. Sums are divided once, by the totals of the *global* batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.data.documents import Documents
from bert_jax.data.instances import InstancePlan, plan_instances, plan_sentences
from bert_jax.model.bert import BertForMaskedLM, BertForPreTraining
from bert_jax.training.losses import weighted_cross_entropy
from bert_jax.training.sharding import DeviceBatch


@dataclasses.dataclass(frozen=True)
class Loss:
    """A cross entropy between scores of the model and labels of the batch.

    Attributes:
        name: before its figures, as in `mlm_loss`.
        logits: of the model's output, [B, n, C].
        labels: of the batch, [B, n] int32.
        weights: of the batch, [B, n] float32; 0 leaves an item out.
    """

    name: str
    logits: Callable[[Any], jax.Array]
    labels: str
    weights: str

    def sums(self, output: Any, batch: DeviceBatch) -> dict[str, jax.Array]:
        """Nats, hits and how many items there are, over one (micro-)batch."""
        nats, hits = weighted_cross_entropy(
            self.logits(output), batch[self.labels], batch[self.weights]
        )
        return {f"{self.name}_nats": nats, f"{self.name}_hits": hits, **self.count(batch)}

    def count(self, batch: DeviceBatch) -> dict[str, jax.Array]:
        """How many items there are."""
        return {f"{self.name}_count": jnp.sum(batch[self.weights])}

    def means(self, sums: Mapping[str, Any]) -> tuple[Any, Any]:
        """Loss in nats and accuracy in 0 … 1; without items, zero."""
        items = jnp.maximum(sums[f"{self.name}_count"], 1.0)
        return sums[f"{self.name}_nats"] / items, sums[f"{self.name}_hits"] / items


@dataclasses.dataclass(frozen=True)
class Objective:
    """What a model is pretrained for.

    Attributes:
        plan: what instances text becomes.
        model: the class that is trained; its parameters are those of the checkpoints.
        reads: arrays of a batch that the model takes besides tokens, segments and positions.
        losses: of which the loss is the sum.
        segments: kinds of segment in a row.
    """

    plan: Callable[[Documents, int, int, int, float], InstancePlan]
    model: type[BertForPreTraining] | type[BertForMaskedLM]
    reads: tuple[str, ...]
    losses: tuple[Loss, ...]
    segments: int

    def sums(self, output: Any, batch: DeviceBatch) -> dict[str, jax.Array]:
        """The sums over one (micro-)batch from which every loss and accuracy is made."""
        return {k: v for loss in self.losses for k, v in loss.sums(output, batch).items()}

    def counts(self, batch: DeviceBatch) -> dict[str, jax.Array]:
        """By what the sums are divided."""
        return {k: v for loss in self.losses for k, v in loss.count(batch).items()}

    def means(self, sums: Mapping[str, Any]) -> dict[str, Any]:
        """Losses in nats and accuracies in 0 … 1 from sums; an empty batch counts as zero loss."""
        means = {loss.name: loss.means(sums) for loss in self.losses}
        first, *others = (nats for nats, _ in means.values())
        return {
            "loss": sum(others, start=first),
            **{f"{name}_loss": nats for name, (nats, _) in means.items()},
            **{f"{name}_accuracy": accuracy for name, (_, accuracy) in means.items()},
        }


_MASKED, _NEXT = ("masked_labels", "masked_weights"), ("next_labels", "next_weights")

MLM_AND_NSP = Objective(
    plan_instances,
    BertForPreTraining,
    ("masked_positions", "cls_positions"),
    (
        Loss("mlm", lambda output: output.mlm_logits, *_MASKED),
        Loss("nsp", lambda output: output.nsp_logits, *_NEXT),
    ),
    segments=2,
)
"""As published (Devlin et al. 2018)."""

MLM = Objective(
    plan_sentences,
    BertForMaskedLM,
    ("masked_positions",),
    (Loss("mlm", lambda output: output.logits, *_MASKED),),
    segments=1,
)
"""Without next sentence prediction (Liu et al. 2019): segment 1 is never read."""

OBJECTIVES = {"mlm+nsp": MLM_AND_NSP, "mlm": MLM}
