"""Held-out figures: MLM and NSP over every held-out batch, and what a unigram model would reach."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

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


def wilson_interval(hits: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval of a proportion (Wilson 1927): sound near 0 and 1, where ±z·σ is not."""
    if trials == 0:
        return 0.0, 1.0
    p, zz = hits / trials, z * z / trials
    centre = (p + zz / 2) / (1 + zz)
    half = z / (1 + zz) * math.sqrt(p * (1 - p) / trials + zz / (4 * trials))
    low, high = max(centre - half, 0.0), min(centre + half, 1.0)
    return min(low, p), max(high, p)  # at 0 and 1 the ends are p itself, but for rounding


def ratio_interval(
    numerators: np.ndarray, denominators: np.ndarray, z: float = 1.959964
) -> tuple[float, tuple[float, float]]:
    """A ratio of sums over batches [n], and its 95 % interval (Cochran 1977, 6.4).

    Both vary from batch to batch, as nats and masked tokens do; the interval is by linearisation.
    """
    ratio = numerators.sum() / denominators.sum()
    half = z * float(np.sqrt(np.square(numerators - ratio * denominators).sum()))
    half /= float(denominators.sum())
    return float(ratio), (float(ratio) - half, float(ratio) + half)


def unigram_entropy(pieces: np.ndarray) -> float:
    """Entropy in nats of the pieces' own distribution.

    No model that ignores the context can have a lower loss on this text, however well it knows
    the frequencies: an MLM loss below it is made of context.
    """
    counts = np.bincount(np.asarray(pieces))
    p = counts[counts > 0] / len(pieces)
    return float(-(p * np.log(p)).sum())
