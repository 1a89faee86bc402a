"""Optimisers by name, built from optax parts so that each shows what it does.

All follow one shape: clip the gradient → precondition it → add weight decay → scale by the rate.
Weight decay leaves biases and LayerNorm alone in every one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from bert_jax.errors import UserError
from bert_jax.training import row_lazy

Params = Any


def decays(params: Params) -> Params:
    """True where weight decay applies: matrices and embedding tables, no bias, no LayerNorm."""

    def is_decayed(path, _) -> bool:
        return path[-1].key not in ("bias", "scale")

    return jax.tree_util.tree_map_with_path(is_decayed, params)


def adamw(rate: optax.Schedule, weight_decay: float) -> optax.GradientTransformation:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), BERT's eps of 1e-6."""
    return optax.chain(
        optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-6),
        optax.add_decayed_weights(weight_decay, decays),
        optax.scale_by_learning_rate(rate),
    )


def row_lazy_adamw(rate: optax.Schedule, weight_decay: float) -> optax.GradientTransformation:
    """AdamW that leaves the token rows a step does not touch as they are; see `row_lazy.py`."""
    tables = row_lazy.row_lazy_adamw(rate, weight_decay, b1=0.9, b2=0.999, eps=1e-6)
    return optax.partition({"rows": tables, "adamw": adamw(rate, weight_decay)}, _token_table)


def _token_table(params: Params) -> Params:
    def label(path, _) -> str:
        return "rows" if [key.key for key in path[-2:]] == ["token", "table"] else "adamw"

    return jax.tree_util.tree_map_with_path(label, params)


def sgd(rate: optax.Schedule, weight_decay: float) -> optax.GradientTransformation:
    """The gradient times the rate: no memory of earlier steps."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay, decays),
        optax.scale_by_learning_rate(rate),
    )


def bert_adam(rate: optax.Schedule, weight_decay: float) -> optax.GradientTransformation:
    """The optimiser BERT was trained with: AdamW whose moments are not bias-corrected.

    Source: google-research/bert, `AdamWeightDecayOptimizer`.
    """
    return optax.chain(
        scale_by_uncorrected_adam(b1=0.9, b2=0.999, eps=1e-6),
        optax.add_decayed_weights(weight_decay, decays),
        optax.scale_by_learning_rate(rate),
    )


def lamb(rate: optax.Schedule, weight_decay: float) -> optax.GradientTransformation:
    """Layer-wise adaptive rates for large batches (You et al. 2020).

    As published, parameters without weight decay get no trust ratio either.
    """
    return optax.chain(
        optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-6),
        optax.add_decayed_weights(weight_decay, decays),
        optax.masked(optax.scale_by_trust_ratio(), decays),
        optax.scale_by_learning_rate(rate),
    )


def adafactor(rate: optax.Schedule, weight_decay: float) -> optax.GradientTransformation:
    """Factored second moments, no first moment (Shazeer & Stern 2018), at an absolute rate.

    Unlike `optax.adafactor`, weight decay is scaled by the rate, as in all the others here.
    """
    return optax.chain(
        optax.scale_by_factored_rms(),
        optax.clip_by_block_rms(1.0),
        optax.add_decayed_weights(weight_decay, decays),
        optax.scale_by_learning_rate(rate),
    )


def muon(rate: optax.Schedule, weight_decay: float) -> optax.GradientTransformation:
    """Orthogonalised momentum for the encoder's matrices, AdamW for the rest (Jordan et al. 2024).

    Updates are scaled to an RMS of 0.2, so that a rate that suits AdamW suits Muon
    (Liu et al. 2025).
    """
    matrices = contrib.muon(rate, weight_decay=weight_decay, consistent_rms=0.2)
    return optax.partition(
        {"muon": matrices, "adamw": adamw(rate, weight_decay)}, _encoder_matrices
    )


def _encoder_matrices(params: Params) -> Params:
    def label(path, leaf) -> str:
        return "muon" if path[1].key == "encoder" and leaf.ndim == 2 else "adamw"

    return jax.tree_util.tree_map_with_path(label, params)


OPTIMIZERS: dict[str, Callable[[optax.Schedule, float], optax.GradientTransformation]] = {
    "adamw": adamw,
    "bert_adam": bert_adam,
    "lamb": lamb,
    "adafactor": adafactor,
    "muon": muon,
    "sgd": sgd,
    "row_lazy_adamw": row_lazy_adamw,
}


def is_row_lazy(name: str) -> bool:
    """Whether an optimiser updates touched token rows only, which a tied decoder does not allow."""
    return OPTIMIZERS.get(name) is row_lazy_adamw


def create_optimizer(
    name: str, rate: optax.Schedule, weight_decay: float = 0.01, clip_norm: float = 1.0
) -> optax.GradientTransformation:
    """An optimiser by name, after clipping by the global gradient norm.

        >>> optimizer = create_optimizer("sgd", lambda count: 0.625, weight_decay=0.0)
        >>> params = {"kernel": jnp.array([1.0, 1.0])}
        >>> gradient = {"kernel": jnp.array([0.0, 4.0])}  # is clipped to length 1
        >>> updates, _ = optimizer.update(gradient, optimizer.init(params), params)
        >>> updates["kernel"].round(3).tolist()
        [-0.0, -0.625]

    Args:
        name: one of `OPTIMIZERS`.
        rate: learning rate as a function of the number of updates applied.
        weight_decay: decoupled, multiplied by the rate; biases and LayerNorm are exempt.
        clip_norm: the largest global gradient norm; 0 turns clipping off.

    Raises:
        UserError: an unknown name.
    """
    if name not in OPTIMIZERS:
        raise UserError(f"got optimizer {name!r}; expected one of {', '.join(OPTIMIZERS)}")
    optimizer = OPTIMIZERS[name](rate, weight_decay)
    if clip_norm:
        optimizer = optax.chain(clip_by_global_norm(clip_norm), optimizer)
    return optimizer


def clip_by_global_norm(largest: float) -> optax.GradientTransformation:
    """Gradients times min(1, largest / their global norm), by one factor for all of them.

    optax divides each element instead. XLA repeats a product wherever the gradient is read, but
    not a quotient: it would write a second copy of every gradient first.
    """

    def update(gradients, state, params=None):
        del params
        factor = jnp.minimum(1.0, largest / optax.tree.norm(gradients))
        return jax.tree.map(lambda g: g * factor, gradients), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def scale_by_uncorrected_adam(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """m / (sqrt(v) + eps) with the raw moments: early updates are larger than Adam's."""

    def init(params: Params) -> optax.ScaleByAdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), zeros, zeros)

    def update(gradients, state, params=None):
        del params
        mu = optax.tree.update_moment(gradients, state.mu, b1, 1)
        nu = optax.tree.update_moment(gradients, state.nu, b2, 2)
        updates = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), mu, nu)
        return updates, optax.ScaleByAdamState(optax.safe_increment(state.count), mu, nu)

    return optax.GradientTransformation(init, update)
