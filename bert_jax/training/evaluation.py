"""Held-out figures: MLM and NSP over every held-out batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from bert_jax.statistics import wilson_interval
from bert_jax.training.objectives import MLM_AND_NSP, Objective
from bert_jax.training.sharding import put_batch
from bert_jax.training.steps import EvalStep


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Held-out figures; losses in nats, accuracies in 0 … 1, the interval at 95 %.

    Those of next sentence prediction are None where the objective is masked LM alone.
    """

    mlm_loss: float
    mlm_accuracy: float
    masked_tokens: int
    nsp_loss: float | None = None
    nsp_accuracy: float | None = None
    nsp_interval: tuple[float, float] | None = None
    pairs: int | None = None

    def figures(self) -> dict[str, Any]:
        """By name, as in `heldout_mlm_loss`; what the objective does not have is left out."""
        found = {name: value for name, value in vars(self).items() if value is not None}
        return {f"heldout_{name}": value for name, value in found.items()}


def evaluate(
    eval_step: EvalStep,
    params: Any,
    batches: Iterable[Mapping[str, np.ndarray]],
    mesh: Mesh,
    objective: Objective = MLM_AND_NSP,
) -> Evaluation:
    """Add up `eval_step` over `batches` and divide once: every masked token counts the same."""
    totals: dict[str, float] = {}
    for batch in batches:
        sums = jax.device_get(eval_step(params, put_batch(batch, mesh)))
        totals = {name: totals.get(name, 0.0) + float(value) for name, value in sums.items()}
    means = {name: float(value) for name, value in objective.means(totals).items()}
    masked_lm = Evaluation(
        means["mlm_loss"], means["mlm_accuracy"], masked_tokens=round(totals["mlm_count"])
    )
    if "nsp_loss" not in means:
        return masked_lm
    hits, pairs = round(totals["nsp_hits"]), round(totals["nsp_count"])
    return dataclasses.replace(
        masked_lm,
        nsp_loss=means["nsp_loss"],
        nsp_accuracy=means["nsp_accuracy"],
        nsp_interval=wilson_interval(hits, pairs),
        pairs=pairs,
    )
