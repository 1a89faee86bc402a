"""Cross entropy over a vocabulary, without an array of its size beside the scores."""

from __future__ import annotations

import jax
import jax.numpy as jnp


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
