import asyncio
import itertools
import shutil
import sys
import threading
import time
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orbax.checkpoint._src.futures.future import ChainedFuture

from bert_jax.checkpoint_files import (
    load_embeddings,
    load_json,
    load_params,
    orbax_context,
)
from bert_jax.checkpoints import Checkpoints
from bert_jax.errors import UserError
from bert_jax.training.assembly import assemble_pretrainer
from bert_jax.training.optimizers import OPTIMIZERS, create_optimizer
from bert_jax.training.sharding import create_mesh
from tests.training.examples import tiny_config

VOCABULARY = {"pieces": ["[PAD]", "a"], "hash": "f00"}


def pretrainer(optimizer="adamw", devices=1, **axes):
    def rate(count):
        return 1e-3

    mesh = create_mesh(axes, jax.devices()[:devices])
    return assemble_pretrainer(
        tiny_config(), mesh, create_optimizer(optimizer, rate), rate, seed=3, batch_size=8
    )


def checkpoints(directory, keep=9):
    return Checkpoints(directory, keep=keep, config={"hidden_size": 16}, vocabulary=VOCABULARY)


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_is_restored_is_what_was_saved(tmp_path, optimizer):
    run = pretrainer(optimizer)
    state = run.initial_state()
    first = checkpoints(tmp_path)
    first.save(state)
    first.close()
    again = checkpoints(tmp_path)
    assert again.latest_step() == 0
    restored = again.restore(run.abstract_state)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    assert_same(restored, state)
    again.close()


def test_a_checkpoint_of_one_mesh_restores_on_another(tmp_path):
    run, other = pretrainer(devices=8, data=2, fsdp=2, tensor=2), pretrainer(devices=4, fsdp=4)
    state = run.initial_state()
    store = checkpoints(tmp_path)
    store.save(state)
    restored = store.restore(other.abstract_state)
    store.close()
    assert_same(jax.device_get(restored), jax.device_get(state))
    table = restored.params["bert"]["embeddings"]["token"]["table"]
    assert (
        table.sharding
        == other.abstract_state.params["bert"]["embeddings"]["token"]["table"].sharding
    )


def test_donating_the_state_after_save_does_not_change_what_is_written(tmp_path):
    """A step may overwrite the arrays in place while they are still being written."""
    run = pretrainer()
    add_one = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
    state = jax.tree.map(lambda x: jnp.zeros((512, 512) if x.ndim == 2 else x.shape, x.dtype),
                         run.initial_state())  # fmt: skip
    store = checkpoints(tmp_path)
    for step in range(6):
        if step % 2 == 0:
            store.save(state)
        state = add_one(state)
    for step in (0, 2, 4):
        for leaf in jax.tree.leaves(store.restore(state, step)):
            np.testing.assert_array_equal(leaf, step)
    store.close()


def test_keeps_the_newest_and_the_best(tmp_path):
    run = pretrainer()
    state = run.initial_state()
    store = checkpoints(tmp_path, keep=2)
    for step, loss in enumerate([5.0, 1.0, 4.0, 3.0, 2.0, None]):
        metrics = None if loss is None else {"heldout_mlm_loss": loss}
        store.save(
            jax.tree_util.tree_map(lambda x: x, state).__class__(
                jnp.int32(step), state.params, state.opt_state
            ),
            metrics,
        )
    store.close()
    kept = {path.name for path in tmp_path.iterdir() if path.name.isdigit()}
    assert kept == {"1", "4", "5"}


def test_embeddings_are_read_without_the_rest(tmp_path):
    run = pretrainer()
    state = run.initial_state()
    store = checkpoints(tmp_path)
    store.save(state)
    store.close()
    assert_same(load_params(tmp_path / "0"), jax.device_get(state.params))
    assert load_json(tmp_path / "0", "vocabulary") == VOCABULARY
    assert load_json(tmp_path / "0", "config") == {"hidden_size": 16}
    shutil.rmtree(tmp_path / "0" / "state")
    tables = load_embeddings(tmp_path / "0")
    assert_same(tables, jax.device_get(state.params["bert"]["embeddings"]))
    assert isinstance(tables["token"]["table"], np.ndarray)


def test_what_is_no_checkpoint_is_named(tmp_path):
    with pytest.raises(UserError, match="which has no embeddings; expected a checkpoint"):
        load_embeddings(tmp_path)
    with pytest.raises(UserError, match="which has no config"):
        load_json(tmp_path, "config")
    store = checkpoints(tmp_path / "empty")
    with pytest.raises(UserError, match="got no checkpoint in"):
        store.restore(pretrainer().abstract_state)
    store.close()


def test_only_what_tensorstore_says_of_a_failed_save_is_left_out(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(sys, "excepthook", lambda *told_of: told.append(told_of))
    monkeypatch.setattr(sys, "unraisablehook", lambda found: told.append(found))
    before = sys.excepthook, sys.unraisablehook
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed") as raised:
        loop.call_soon_threadsafe(print)
    ours = (raised.type, raised.value, raised.value.__traceback__)
    from_c = (raised.type, raised.value, raised.value.__traceback__.tb_next)
    without_trace = (raised.type, raised.value, None)
    store = checkpoints(tmp_path)
    for error in (ours, from_c, without_trace):
        sys.excepthook(*error)
        names = ("exc_type", "exc_value", "exc_traceback")
        sys.unraisablehook(SimpleNamespace(**dict(zip(names, error, strict=True))))
    store.close()
    assert [tuple(vars(each).values()) if hasattr(each, "exc_type") else each for each in told] == [
        *[ours] * 2, *[without_trace] * 2
    ]  # fmt: skip
    assert (sys.excepthook, sys.unraisablehook) == before


def test_waits_within_waits_outlive_a_clock_that_jumps(monkeypatch):
    given = []

    class Written:
        def result(self, timeout):
            given.append(timeout)

    waits = ChainedFuture([Written()], cb=lambda: None)
    for _ in range(3):
        waits = ChainedFuture([waits], cb=lambda: None)
    for jumps in itertools.product((-3e8, 0.0, 3e8), repeat=8):
        clock = itertools.cycle(jumps)
        monkeypatch.setattr(time, "time", lambda clock=clock: 1.8e9 + next(clock))
        waits.result(timeout=orbax_context().asynchronous.timeout_secs)
    assert min(given) > 0 and max(given) < threading.TIMEOUT_MAX
