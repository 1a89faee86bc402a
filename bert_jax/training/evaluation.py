"""Held-out figures: MLM and NSP over every held-out batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from bert_jax.statistics import wilson_interval
from bert_jax.training.losses import means
from bert_jax.training.sharding import put_batch
from bert_jax.training.steps import EvalStep


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Held-out figures; losses in nats, accuracies in 0 … 1, the interval at 95 %."""

    mlm_loss: float
    mlm_accuracy: float
    nsp_loss: float
    nsp_accuracy: float
    nsp_interval: tuple[float, float]
    masked_tokens: int
    pairs: int


def evaluate(
    eval_step: EvalStep, params: Any, batches: Iterable[Mapping[str, np.ndarray]], mesh: Mesh
) -> Evaluation:
    """Add up `eval_step` over `batches` and divide once: every masked token counts alike."""
    totals: dict[str, float] = {}
    for batch in batches:
        sums = jax.device_get(eval_step(params, put_batch(batch, mesh)))
        totals = {name: totals.get(name, 0.0) + float(value) for name, value in sums.items()}
    figures = {name: float(value) for name, value in means(totals).items()}
    hits, pairs = round(totals["nsp_hits"]), round(totals["nsp_count"])
    return Evaluation(
        mlm_loss=figures["mlm_loss"],
        mlm_accuracy=figures["mlm_accuracy"],
        nsp_loss=figures["nsp_loss"],
        nsp_accuracy=figures["nsp_accuracy"],
        nsp_interval=wilson_interval(hits, pairs),
        masked_tokens=round(totals["mlm_count"]),
        pairs=pairs,
    )
