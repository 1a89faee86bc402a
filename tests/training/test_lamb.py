"""LAMB in bfloat16 for 500 steps beside float32: finite, falling, and within a hundredth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.kernels.compute import Compute
from bert_jax.training.assembly import assemble_pretrainer
from bert_jax.training.optimizers import create_optimizer
from bert_jax.training.sharding import create_mesh, put_batch
from tests.training.examples import batches, tiny_config

STEPS, WINDOW = 500, 50


def rate(count):
    return 2e-2 * jnp.minimum(1, (STEPS - count) / 250)


def losses(dtype, source):
    """The mean loss of every 50 steps."""
    run = assemble_pretrainer(
        tiny_config(), create_mesh({}, jax.devices()[:1]), create_optimizer("lamb", rate), rate,
        seed=0, batch_size=8, compute=Compute(dtype=dtype),
    )  # fmt: skip
    state, history = run.initial_state(), []
    for step in range(STEPS):
        state, metrics = run.train_step(state, put_batch(source[step % len(source)], run.mesh))
        history.append(metrics)
    history = jax.device_get(history)
    assert np.isfinite([list(metrics.values()) for metrics in history]).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(state.params)))
    return np.array([m["loss"] for m in history]).reshape(-1, WINDOW).mean(axis=1)


@pytest.mark.slow
def test_lamb_in_bfloat16_falls_as_in_float32():
    source = [batches()[i] for i in range(100)]
    exact, rounded = (losses(dtype, source) for dtype in ("float32", "bfloat16"))
    for curve in (exact, rounded):
        assert (np.diff(curve) < 0).all()
        assert curve[0] > 5.1 and curve[-1] < 4.3
    np.testing.assert_allclose(rounded, exact, rtol=0.01)
