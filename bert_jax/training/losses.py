"""The two pretraining objectives: masked LM and next sentence prediction."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.model.bert import PretrainingOutput
from bert_jax.training.sharding import DeviceBatch


def weighted_cross_entropy(
    logits: jax.Array, labels: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Sum of weighted cross entropies, and sum of weighted hits.

    Labels stay indices: no one-hot array of the size of the vocabulary is kept.

    Args:
        logits: [..., C], any float; taken to float32 before the softmax.
        labels: [...] int32 in 0 … C-1.
        weights: [...] float32; 0 leaves an item out.

    Returns:
        Two float32 scalars: nats lost, and how much weight was given the highest score.
    """
    logits = logits.astype(jnp.float32)
    # A max and not an arg max, which takes XLA 20 times as long on CPU; a tie counts as a hit.
    hits = _at_labels(logits, labels) >= jnp.max(logits, axis=-1)
    return jnp.sum(_cross_entropies(logits, labels) * weights), jnp.sum(hits * weights)


@jax.custom_vjp
def _cross_entropies(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return _cross_entropies_forward(logits, labels)[0]


def _cross_entropies_forward(
    logits: jax.Array, labels: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    totals = jax.nn.logsumexp(logits, axis=-1)
    return totals - _at_labels(logits, labels), (logits, labels, totals)


def _cross_entropies_backward(
    residuals: tuple[jax.Array, ...], g: jax.Array
) -> tuple[jax.Array, None]:
    # Probabilities less one at the label, in one pass: left to automatic differentiation it is four
    # over an array of the size of the vocabulary, a scatter among them.
    logits, labels, totals = residuals
    one = jax.lax.broadcasted_iota(labels.dtype, logits.shape, logits.ndim - 1) == labels[..., None]
    return (jnp.exp(logits - totals[..., None]) - one) * g[..., None], None


_cross_entropies.defvjp(_cross_entropies_forward, _cross_entropies_backward)


def _at_labels(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]


def pretraining_sums(output: PretrainingOutput, batch: DeviceBatch) -> dict[str, jax.Array]:
    """The sums over one (micro-)batch from which every loss and accuracy is made.

    Sums, not means: a mean over devices or microbatches of means would weigh rows with few
    masked tokens too much. Divide once, by the totals of the *global* batch.

    Args:
        output: `mlm_logits` [B, P, V] and `nsp_logits` [B, I, 2].
        batch: the masked labels and weights [B, P], next labels and weights [B, I].
    """
    mlm_nats, mlm_hits = weighted_cross_entropy(
        output.mlm_logits, batch["masked_labels"], batch["masked_weights"]
    )
    nsp_nats, nsp_hits = weighted_cross_entropy(
        output.nsp_logits, batch["next_labels"], batch["next_weights"]
    )
    return {
        "mlm_nats": mlm_nats,
        "mlm_hits": mlm_hits,
        "mlm_count": jnp.sum(batch["masked_weights"]),
        "nsp_nats": nsp_nats,
        "nsp_hits": nsp_hits,
        "nsp_count": jnp.sum(batch["next_weights"]),
    }


def means(sums: dict[str, Any]) -> dict[str, Any]:
    """Losses in nats and accuracies in 0 … 1 from sums; an empty batch counts as zero loss."""
    masked, pairs = jnp.maximum(sums["mlm_count"], 1.0), jnp.maximum(sums["nsp_count"], 1.0)
    mlm_loss, nsp_loss = sums["mlm_nats"] / masked, sums["nsp_nats"] / pairs
    return {
        "loss": mlm_loss + nsp_loss,
        "mlm_loss": mlm_loss,
        "nsp_loss": nsp_loss,
        "mlm_accuracy": sums["mlm_hits"] / masked,
        "nsp_accuracy": sums["nsp_hits"] / pairs,
    }
