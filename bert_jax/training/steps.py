"""The training and evaluation steps: pure functions, compiled once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from bert_jax.parameters import Parameters, merge_model, stack_layers, token_table, with_token_table
from bert_jax.training.freezing import join_frozen, split_frozen
from bert_jax.training.objectives import MLM_AND_NSP, Objective
from bert_jax.training.row_lazy import gather_rows, touched_rows
from bert_jax.training.sharding import DeviceBatch
from bert_jax.training.state import TrainState

Metrics = dict[str, jax.Array]
TrainStep = Callable[[TrainState, DeviceBatch], tuple[TrainState, Metrics]]
EvalStep = Callable[[Any, DeviceBatch], dict[str, jax.Array]]

_DROPOUT_STREAM = 0x64726F70  # apart from the keys that the same seed initialises parameters with


def create_train_step(
    definition: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    rate: optax.Schedule,
    seed: int,
    *,
    objective: Objective = MLM_AND_NSP,
    scan_layers: bool = False,
    accumulate: int = 1,
    dropout: bool = True,
    frozen: Sequence[str] = (),
    row_lazy: bool = False,
    copy_table: Callable[[jax.Array], jax.Array] | None = None,
) -> TrainStep:
    """One update: value_and_grad → update → apply → a dict of scalars.

    Args:
        definition: of the objective's model class, from `split_model`.
        optimizer: the optax optimiser of the state.
        rate: its learning rate, reported with the losses.
        seed: dropout is a function of `(seed, step)`.
        objective: whose losses are added up.
        scan_layers: the model of `definition` scans its layers. Their parameters are stacked
            inside the step, so that state and checkpoints have one layout either way.
        accumulate: microbatches whose gradients are summed before the update; the loss and the
            gradient are those of the whole batch except for rounding (and for dropout's draws).
        dropout: False trains without it.
        frozen: paths of parameters that stay as they are (`freezing.py`).
        row_lazy: `optimizer` is one of `row_lazy.py`: the model computes with the token rows of the
            batch alone, and no gradient of the size of the table is made. The decoder must be
            untied, since a tied one has a gradient for every row, and the table not frozen.
        copy_table: turns the token table into copies of it (`sharding.copies_of_tables`), for a
            tied decoder on several devices: the gradients of lookup and decoder, and of all
            microbatches, are added up on each device, and sent once. Not for a frozen table.

    Returns:
        `step(state, batch) -> (state, metrics)`, still to be given to `jax.jit`. Metrics are
        float32 scalars: loss, mlm_loss, nsp_loss, mlm_accuracy, nsp_accuracy (the objective's
        means), gradient_norm (of what is trained), learning_rate.
    """

    def loss(trained, kept, batch: DeviceBatch, key: jax.Array, totals: dict[str, jax.Array]):
        params = join_frozen(trained, kept)
        rngs = nnx.Rngs(dropout=key) if dropout else None
        output = _forward(definition, objective, scan_layers, params, batch, rngs)
        sums = objective.sums(output, batch)
        # Divided by the totals of the global batch, so that microbatches simply add up.
        return objective.means(sums | totals)["loss"], sums

    update = optax.with_extra_args_support(optimizer).update

    def step(state: TrainState, batch: DeviceBatch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(seed), _DROPOUT_STREAM)
        key = jax.random.fold_in(key, state.step)
        totals = objective.counts(batch)
        trained, kept = split_frozen(state.params, frozen)
        looked_up, rows = trained, None
        if row_lazy:
            seen = touched_rows(batch["input_ids"], token_table(trained).shape[0])
            rows, batch = seen.rows, {**batch, "input_ids": seen.places}
            looked_up = with_token_table(trained, gather_rows(token_table(trained), rows))
        if copy_table is not None:
            looked_up = with_token_table(trained, copy_table(token_table(trained)))
        gradient_of = functools.partial(jax.grad(loss, has_aux=True), looked_up, kept)
        if accumulate == 1:
            gradients, sums = gradient_of(batch, key, totals)
        else:
            gradients, sums = _accumulated(
                lambda i, rows: gradient_of(rows, jax.random.fold_in(key, i), totals),
                _microbatches(batch, accumulate),
                accumulate,
            )
        if copy_table is not None:
            gradients = with_token_table(gradients, jnp.sum(token_table(gradients), axis=0))
        updates, opt_state = update(gradients, state.opt_state, trained, rows=rows)
        updated = optax.apply_updates(trained, updates)
        if row_lazy:  # the new table itself, not what to add to it
            updated = with_token_table(updated, token_table(updates))
        params = join_frozen(updated, kept)
        metrics = objective.means(sums) | {
            "gradient_norm": optax.tree.norm(gradients),
            "learning_rate": jnp.asarray(rate(state.step), jnp.float32),
        }
        return TrainState(state.step + 1, params, opt_state), metrics

    return step


def create_eval_step(
    definition: nnx.GraphDef, *, objective: Objective = MLM_AND_NSP, scan_layers: bool = False
) -> EvalStep:
    """`step(params, batch) -> sums` without dropout, to be added up over batches."""

    def step(params, batch: DeviceBatch) -> dict[str, jax.Array]:
        output = _forward(definition, objective, scan_layers, params, batch, None)
        return objective.sums(output, batch)

    return step


def _forward(
    definition: nnx.GraphDef,
    objective: Objective,
    scan_layers: bool,
    params: Parameters,
    batch: DeviceBatch,
    rngs: nnx.Rngs | None,
) -> Any:
    one_instance_a_row = batch["cls_positions"].shape[1] == 1
    instances = batch["instance_ids"]
    if scan_layers:
        params = stack_layers(params)
    return merge_model(definition, params)(
        batch["input_ids"],
        batch["token_type_ids"],
        instances > 0 if one_instance_a_row else instances,
        batch["position_ids"],
        **{name: batch[name] for name in objective.reads},
        rngs=rngs,
    )


def _microbatches(batch: DeviceBatch, n: int) -> DeviceBatch:
    """[B, …] → [n, B/n, …], microbatch i taking rows i, i+n, i+2n, …

    rows 0 1 2 3 | 4 5 6 7   on two devices, n = 2
    microbatch 0: 0 2 | 4 6      every device keeps its own rows:
    microbatch 1: 1 3 | 5 7      nothing is sent
    """
    return {
        name: rows.reshape(rows.shape[0] // n, n, *rows.shape[1:]).swapaxes(0, 1)
        for name, rows in batch.items()
    }


def _accumulated(gradient_of: Callable, microbatches: DeviceBatch, n: int):
    """Sum of gradients and of loss sums over microbatches, one at a time in memory."""

    def add(total, item):
        i, rows = item
        return jax.tree.map(jnp.add, total, gradient_of(i, rows)), None

    first = jax.tree.map(lambda rows: rows[0], microbatches)
    zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(gradient_of, 0, first)
    )
    return jax.lax.scan(add, zeros, (jnp.arange(n), microbatches))[0]
