import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.kernels.compute import Compute
from bert_jax.training.assembly import assemble_pretrainer
from bert_jax.training.optimizers import create_optimizer
from bert_jax.training.sharding import create_mesh, put_batch
from tests.training.examples import batches, tiny_config


def pretrainer(devices=1, config=None, **choices):
    def rate(count):
        return 1e-2

    mesh = create_mesh({"data": devices}, jax.devices()[:devices])
    choices = {"seed": 0, "batch_size": 8} | choices
    return assemble_pretrainer(
        config or tiny_config(), mesh, create_optimizer("adamw", rate), rate, **choices
    )


def run_steps(run, count, source=None):
    state, history = run.initial_state(), []
    for batch in [(source or batches())[i] for i in range(count)]:
        state, metrics = run.train_step(state, put_batch(batch, run.mesh))
        history.append(jax.device_get(metrics))
    return state, history


def test_the_loss_falls():
    _, history = run_steps(pretrainer(), 60, source=[batches()[0]] * 60)
    assert history[-1]["mlm_loss"] < history[0]["mlm_loss"] - 0.5
    assert set(history[0]) == {
        "loss", "mlm_loss", "nsp_loss", "mlm_accuracy", "nsp_accuracy",
        "gradient_norm", "learning_rate",
    }  # fmt: skip


def test_an_untrained_model_guesses_uniformly():
    _, history = run_steps(pretrainer(), 1)
    assert history[0]["mlm_loss"] == pytest.approx(np.log(96), abs=0.05)
    assert history[0]["nsp_loss"] == pytest.approx(np.log(2), abs=0.05)


def test_the_second_step_does_not_recompile():
    run = pretrainer(devices=4)
    run_steps(run, 3)
    assert run.train_step._cache_size() == 1


def test_same_seed_same_bits_other_seed_other_bits():
    once, again, other = (run_steps(pretrainer(seed=s), 3)[1] for s in (0, 0, 1))
    assert once == again
    assert once != other


def test_microbatches_give_the_gradient_of_the_whole_batch():
    """Also where microbatches hold different numbers of masked tokens."""
    config = tiny_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    whole, history = run_steps(pretrainer(config=config), 1)
    parts, summed = run_steps(pretrainer(config=config, accumulate=4), 1)
    np.testing.assert_allclose(summed[0]["loss"], history[0]["loss"], rtol=1e-6)
    np.testing.assert_allclose(summed[0]["gradient_norm"], history[0]["gradient_norm"], rtol=1e-5)
    moments = (s.opt_state[1][0].mu for s in (parts, whole))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-8), *moments)


def test_scanned_layers_train_as_unrolled_ones():
    config = tiny_config(num_hidden_layers=2)
    plain, history = run_steps(pretrainer(config=config), 2)
    scanned, scanned_history = run_steps(
        pretrainer(config=config, compute=Compute(scan_layers=True)), 2
    )
    assert jax.tree.structure(plain) == jax.tree.structure(scanned)
    for a, b in zip(history, scanned_history, strict=True):
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-5)


def test_every_masked_token_of_the_global_batch_weighs_the_same():
    """Rows with few masked tokens must not count more, whichever device they lie on."""
    config = tiny_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    batch = dict(batches()[0])
    batch["masked_weights"] = batch["masked_weights"].copy()
    batch["masked_weights"][1:, 1:] = 0  # the first row keeps all of its masked tokens
    losses = []
    for devices in (1, 8):
        run = pretrainer(devices, config)
        state = run.initial_state()
        _, metrics = run.train_step(state, put_batch(batch, run.mesh))
        losses.append(float(metrics["mlm_loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    run = pretrainer(1, config)
    sums = run.eval_step(run.initial_state().params, put_batch(batch, run.mesh))
    assert float(sums["mlm_nats"] / sums["mlm_count"]) == pytest.approx(losses[0], rel=1e-5)


def test_padding_rows_change_nothing():
    run = pretrainer(batch_size=16)
    batch = batches()[0]
    padded = {name: np.concatenate([a, np.zeros_like(a)]) for name, a in batch.items()}
    params = run.initial_state().params
    small = pretrainer().eval_step(params, put_batch(batch, run.mesh))
    large = run.eval_step(params, put_batch(padded, run.mesh))
    for name in small:
        np.testing.assert_allclose(large[name], small[name], rtol=1e-6)


def test_bfloat16_computes_near_float32_and_keeps_float32_parameters():
    state, history = run_steps(pretrainer(compute=Compute(dtype=jnp.bfloat16)), 2)
    _, exact = run_steps(pretrainer(), 2)
    np.testing.assert_allclose(history[1]["loss"], exact[1]["loss"], rtol=2e-2)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}


def test_a_batch_that_cannot_be_cut_is_refused():
    with pytest.raises(UserError, match="got batch_size=8; expected a multiple of 12"):
        pretrainer(devices=4, accumulate=3)


def test_the_state_is_frozen():
    state = pretrainer().initial_state()
    with pytest.raises(dataclasses.FrozenInstanceError):
        state.step = 3
