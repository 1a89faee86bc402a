"""A pretrained model with an output layer, placed on a mesh, and its compiled steps."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from bert_jax.arguments import MOST
from bert_jax.convert.contents import Pretrained
from bert_jax.convert.models import fit
from bert_jax.data.row_layout import Batch, Rows
from bert_jax.errors import UserError
from bert_jax.kernels.compute import Compute
from bert_jax.memory import check_fits
from bert_jax.parameters import Parameters, abstract_params, unstack_layers
from bert_jax.tasks.features import Features
from bert_jax.tasks.forward import forward, predict
from bert_jax.tasks.head_start import head_start
from bert_jax.tasks.heads import Head, means
from bert_jax.tasks.rate_factors import Rates, frozen_paths, rate_factors
from bert_jax.training.freezing import join_frozen, split_frozen
from bert_jax.training.optimizers import create_optimizer
from bert_jax.training.sharding import BATCH, DeviceBatch, batch_ways, place, put_batch
from bert_jax.training.state import TrainState, create_state
from bert_jax.training.steps import Metrics, TrainStep

_RATE_PLACES = 4096
_DROPOUT_STREAM = 0x66696E65  # apart from the keys that the same seed draws the head with


@dataclasses.dataclass(frozen=True)
class Finetuner:
    """What fine-tuning needs on the device side, the same for all seeds and learning rates.

    Attributes:
        head: the kind of task.
        abstract_state: shapes, dtypes and placement of the state; enough to restore one.
    """

    head: Head
    mesh: Mesh
    abstract_state: TrainState
    _params: Callable[[int], Parameters]
    _create: Callable[[Parameters], TrainState]
    _train_step: Any
    _predict_step: Any

    def initial_state(self, seed: int) -> TrainState:
        """The state before the first step; what the checkpoint lacks is drawn with `seed`."""
        return self._create(jax.device_put(self._params(seed), self.abstract_shardings.params))

    @property
    def abstract_shardings(self) -> TrainState:
        """Where the parts of the state live."""
        return jax.tree.map(lambda leaf: leaf.sharding, self.abstract_state)

    def train_step(self, seed: int, rate: optax.Schedule, steps: int) -> TrainStep:
        """The step of one run: dropout by `seed`, the learning rate by `rate`.

        Both are arguments of one compiled function, so that other seeds and rates compile nothing.
        """
        places = -(-steps // _RATE_PLACES) * _RATE_PLACES  # runs of about one length: one shape
        if places > MOST:
            raise UserError(f"got a run of {steps} steps; expected at most {MOST}: fewer `epochs`")
        check_fits(4 * places, f"a run of {steps} steps")
        rates = jnp.broadcast_to(jnp.asarray(rate(jnp.arange(places)), jnp.float32), (places,))
        key = jax.random.fold_in(jax.random.key(seed), _DROPOUT_STREAM)
        return lambda state, batch: self._train_step(state, batch, rates, key)

    def predict(self, params: Parameters, features: Features, rows: list[Rows]) -> np.ndarray:
        """The head's logits without dropout, in the order of the features; see `forward.predict`.

        Args:
            params: as in the state.
            features: labels are not looked at.
            rows: how sequences are put into batches; packed or not, the result is the same.

        Returns:
            float32 [n, C], or [T, C] where the head scores tokens.
        """

        def step(batch: Batch) -> jax.Array:
            return self._predict_step(params, put_batch(batch, self.mesh))

        return predict(step, self.head, features, rows)

    def compiled_shapes(self) -> int:
        """How many shapes of training batches were compiled so far."""
        return self._train_step._cache_size()


def assemble_finetuner(
    pretrained: Pretrained,
    head: Head,
    mesh: Mesh,
    *,
    batch_rows: int,
    labels: Sequence[str] = (),
    unit_size: int = 1,
    optimizer: str = "adamw",
    weight_decay: float = 0.01,
    clip_norm: float = 1.0,
    rates: Rates | None = None,
    class_weights: np.ndarray | None = None,
    dropout: float | None = None,
    compute: Compute | None = None,
) -> Finetuner:
    """Put an output layer on a pretrained encoder.

    Args:
        pretrained: from `load_pretrained`; its own output layer is trained further
            if `head_start` says so.
        head: the kind of task.
        mesh: from `create_mesh`.
        batch_rows: rows of a training batch.
        labels: C class names, for the heads that have classes.
        unit_size: rows of a batch that are the choices of one question.
        optimizer, weight_decay, clip_norm: see `create_optimizer`.
        rates: the learning rate of each part, relative to the schedule's.
        class_weights: float [C], how much an example of each class weighs in the loss.
        dropout: replaces all dropout rates of the checkpoint's configuration.
        compute: how the model computes; None is `Compute()`.

    Raises:
        UserError: the batch cannot be split over the devices, or a setting is out of range.
    """
    if batch_rows % batch_ways(mesh):
        raise UserError(
            f"got batches of {batch_rows} rows; expected a multiple of {batch_ways(mesh)}, the"
            " parts the mesh splits a batch into"
        )
    config = pretrained.config
    if dropout is not None:
        config = config.replace(
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            classifier_dropout=None,
        )
    options = head.options(labels)
    source = head_start(pretrained, head, labels).pretrained

    def params(seed: int) -> Parameters:
        # Copied: the state takes the memory over, and the checkpoint serves the next seed.
        return jax.tree.map(np.array, fit(source, head.model, config, seed=seed, **options).params)

    compute = compute or Compute()
    definition, laid_out = abstract_params(
        lambda: head.model(config, nnx.Rngs(0), compute, **options)
    )
    shapes = jax.eval_shape(unstack_layers, laid_out)
    rates = rates or Rates()
    frozen = frozen_paths(shapes, rates)
    factors, _ = split_frozen(rate_factors(shapes, rates), frozen)
    # At rate 1: the step multiplies by the rate, which is an argument and so compiles nothing anew.
    transform = create_optimizer(optimizer, optax.constant_schedule(1.0), weight_decay, clip_norm)
    weights = None if class_weights is None else jnp.asarray(class_weights, jnp.float32)

    logits_of = functools.partial(forward, definition, head, compute.scan_layers)

    def loss(
        trained: Parameters, kept: Parameters, batch: DeviceBatch, key: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        logits = logits_of(join_frozen(trained, kept), batch, nnx.Rngs(dropout=key))
        sums = head.sums(logits, batch, unit_size, weights)
        figures = means(sums)
        if "share" not in batch:
            return figures["loss"], figures
        # Not the mean over class weights, whose sum differs from batch to batch by more than share.
        return sums["nats"] / jnp.maximum(sums["count"], 1.0) * jnp.mean(batch["share"]), figures

    def train_step(
        state: TrainState, batch: DeviceBatch, rates: jax.Array, key: jax.Array
    ) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(key, state.step)
        trained, kept = split_frozen(state.params, frozen)
        gradients, metrics = jax.grad(loss, has_aux=True)(trained, kept, batch, key)
        updates, opt_state = transform.update(gradients, state.opt_state, trained)
        rate = rates[state.step]
        updates = jax.tree.map(lambda update, factor: rate * factor * update, updates, factors)
        metrics |= {"gradient_norm": optax.tree.norm(gradients), "learning_rate": rate}
        params = join_frozen(optax.apply_updates(trained, updates), kept)
        return TrainState(state.step + 1, params, opt_state), metrics

    def create(values: Parameters) -> TrainState:
        return create_state(values, transform, frozen)

    abstract = jax.eval_shape(create, shapes)
    placed, replicated = place(abstract, mesh), NamedSharding(mesh, P())
    batch_rows_placed = NamedSharding(mesh, BATCH)
    return Finetuner(
        head=head,
        mesh=mesh,
        abstract_state=jax.tree.map(
            lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where),
            abstract,
            placed,
        ),
        _params=params,
        _create=jax.jit(create, out_shardings=placed),
        _train_step=jax.jit(
            train_step,
            in_shardings=(placed, batch_rows_placed, replicated, replicated),
            out_shardings=(placed, replicated),
            donate_argnums=0,
        ),
        _predict_step=jax.jit(
            logits_of,
            in_shardings=(placed.params, batch_rows_placed),
            out_shardings=replicated,
        ),
    )
