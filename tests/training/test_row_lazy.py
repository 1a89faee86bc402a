import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.training.assembly import assemble_pretrainer
from bert_jax.training.optimizers import adamw, create_optimizer
from bert_jax.training.row_lazy import gather_rows, row_lazy_adamw, touched_rows
from bert_jax.training.sharding import create_mesh, put_batch
from tests.training.examples import batches, tiny_config

V, D = 12, 8


def rate(count):
    return 0.01 / (1 + count)


def draw_table(seed, shape=(V, D)):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@functools.cache
def whole_step(optimizer):
    @jax.jit
    def step(table, state, gradient):
        updates, state = optimizer.update(gradient, state, table)
        return optax.apply_updates(table, updates), state

    return step


@functools.cache
def rows_step(optimizer):
    @jax.jit
    def step(table, state, looked_up):
        ids, gradient = looked_up
        seen = touched_rows(ids, table.shape[0])
        by_row = jnp.zeros((seen.rows.size, table.shape[1])).at[seen.places].add(gradient)
        return optimizer.update(by_row, state, table, rows=seen.rows)

    return step


def run(step, optimizer, table, gradients):
    """The table after each of `gradients` ([V, D], or ids and the gradients of their vectors)."""
    state, tables = optimizer.init(table), []
    for gradient in gradients:
        table, state = step(optimizer)(table, state, gradient)
        tables.append(np.asarray(jax.tree.leaves(table)[0]))
    return tables


DECAYING = row_lazy_adamw(rate, 0.1)


def test_rows_and_places():
    seen = touched_rows(jnp.array([[7, 4], [7, 9]]), 12)
    np.testing.assert_array_equal(seen.rows, [4, 7, 9, 12])
    np.testing.assert_array_equal(seen.places, [[1, 0], [1, 2]])
    table = jnp.arange(24.0).reshape(12, 2)
    np.testing.assert_array_equal(
        gather_rows(table, seen.rows), [[8, 9], [14, 15], [18, 19], [0, 0]]
    )
    few = touched_rows(jnp.array([1, 1, 0, 1, 0]), 3)  # K = V
    np.testing.assert_array_equal(few.rows, [0, 1, 3])
    many = touched_rows(jnp.arange(513), 10_000)
    np.testing.assert_array_equal(many.rows, [*range(513), *[10_000] * 511])


def test_where_every_row_is_touched_it_is_dense_adamw_bit_for_bit():
    table = draw_table(0, (1200, 48))
    gradients = [draw_table(1 + i, table.shape) for i in range(40)]
    order = jnp.asarray(np.random.default_rng(9).permutation(1200))
    named = [{"table": g} for g in gradients]
    dense = run(whole_step, adamw(rate, 0.1), {"table": table}, named)
    whole = run(whole_step, DECAYING, table, gradients)
    rows = run(rows_step, DECAYING, table, [(order, g[order]) for g in gradients])
    np.testing.assert_array_equal(dense, whole)
    np.testing.assert_array_equal(dense, rows)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(0, V - 1), min_size=6, max_size=6), min_size=1, max_size=6))
def test_rows_and_whole_gradients_give_the_same_bits_and_touch_nothing_else(ids):
    table = draw_table(0)
    looked_up = [(jnp.array(i), draw_table(5 + n, (6, D))) for n, i in enumerate(ids)]
    summed = [jnp.zeros((V, D)).at[i].add(g) for i, g in looked_up]
    rows = run(rows_step, DECAYING, table, looked_up)
    np.testing.assert_array_equal(rows, run(whole_step, DECAYING, table, summed))
    for before, after, present in zip([table, *rows], rows, ids, strict=False):
        assert set(np.flatnonzero((after != before).any(axis=1))) == set(present)


def test_a_row_is_updated_as_if_the_other_steps_had_not_been():
    """Moments and bias correction belong to the row: only the learning rate knows of the run."""
    gradients = [draw_table(i, (1, D)) for i in range(3)]
    constant = row_lazy_adamw(lambda count: 0.01, 0.1)
    alone = run(whole_step, constant, draw_table(9, (1, D)), gradients)
    absent = jnp.zeros((1, D))
    between = [gradients[0], absent, absent, gradients[1], absent, gradients[2]]
    tables = run(whole_step, constant, draw_table(9, (1, D)), between)
    for here, there in ((0, 0), (2, 0), (3, 1), (4, 1), (5, 2)):
        np.testing.assert_array_equal(tables[here], alone[there])


def test_the_first_update_of_a_row_is_a_sign_whenever_it_comes():
    optimizer = row_lazy_adamw(lambda count: 0.01, 0.0)
    gradients = [jnp.zeros((2, D)).at[0].set(1.0)] * 50 + [jnp.ones((2, D)) * 1e-3]
    tables = run(whole_step, optimizer, jnp.zeros((2, D)), gradients)
    np.testing.assert_array_equal(tables[49][1], np.zeros(D, np.float32))
    np.testing.assert_allclose(tables[50][1], -0.01 * np.ones(D), rtol=2e-3)  # eps takes the rest


def test_weight_decay_needs_the_tables():
    optimizer = row_lazy_adamw(rate, 0.1)
    with pytest.raises(ValueError, match="got params=None"):
        optimizer.update(jnp.zeros((V, D)), optimizer.init(jnp.zeros((V, D))))


def pretrainer(name="row_lazy_adamw", devices=1, row_lazy=True, clip_norm=1.0, **choices):
    mesh = create_mesh({"data": devices}, jax.devices()[:devices])
    rates = ("hidden_dropout_prob", "attention_probs_dropout_prob")
    config = tiny_config(
        tie_word_embeddings=choices.pop("tied", False),
        **dict.fromkeys(rates, choices.pop("dropout", 0.1)),
    )
    optimizer = create_optimizer(name, rate, 0.1, clip_norm)
    return assemble_pretrainer(
        config, mesh, optimizer, rate, seed=0, batch_size=8, row_lazy=row_lazy, **choices
    )


def token_tables(run, steps=3):
    state, tables = run.initial_state(), []
    tables.append(np.asarray(state.params["bert"]["embeddings"]["token"]["table"]))
    for i in range(steps):
        state, _ = run.train_step(state, put_batch(batches()[i], run.mesh))
        tables.append(np.asarray(state.params["bert"]["embeddings"]["token"]["table"]))
    return state, tables


def test_in_training_only_rows_of_real_tokens_change():
    _, tables = token_tables(pretrainer())
    for i, (before, after) in enumerate(itertools.pairwise(tables)):
        batch = batches()[i]
        present = set(batch["input_ids"][batch["instance_ids"] > 0])
        assert len(present) < 96 - 10
        assert set(np.flatnonzero((before != after).any(axis=1))) == present


@pytest.mark.parametrize("choices", [{"devices": 8}, {"accumulate": 4}, {"row_lazy": False}])
def test_devices_microbatches_and_whole_gradients_agree(choices):
    """The last is the plain optax form of the same optimiser, by gradients of the whole table."""
    choices |= {"clip_norm": 0.0, "dropout": 0.0}
    state, _ = token_tables(pretrainer(clip_norm=0.0, dropout=0.0), 1)
    other, _ = token_tables(pretrainer(**choices), 1)
    kept = (jax.tree.leaves(s.opt_state) for s in (state, other))  # moments are as gradients are
    for a, b in zip(*kept, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-8)


def test_a_tied_decoder_is_refused():
    with pytest.raises(UserError, match="got a row-lazy optimiser with a tied decoder"):
        pretrainer(tied=True)


@pytest.mark.parametrize("path", ["bert/embeddings/token", "bert/embeddings", "bert"])
def test_a_frozen_token_table_is_refused(path):
    with pytest.raises(UserError, match="got a row-lazy optimiser and a frozen token table"):
        pretrainer(frozen=[path])


def test_frozen_positions_stay_and_token_rows_change_as_without():
    run = pretrainer(frozen=["bert/embeddings/position"], clip_norm=0.0)
    state, tables = token_tables(run, 1)
    _, free = token_tables(pretrainer(clip_norm=0.0), 1)
    np.testing.assert_array_equal(tables, free)
    before, after = (
        s.params["bert"]["embeddings"]["position"] for s in (run.initial_state(), state)
    )
    jax.tree.map(np.testing.assert_array_equal, before, after)
