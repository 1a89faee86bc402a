import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from bert_jax.errors import UserError
from bert_jax.kernels.compute import Compute, products_for
from bert_jax.kernels.products import PLAIN
from bert_jax.kernels.rematerialisation import REMATERIALISATIONS, rematerialisation
from bert_jax.model.encoder import EncoderLayer
from bert_jax.training.assembly import assemble_pretrainer
from bert_jax.training.sharding import create_mesh, put_batch
from tests.training.examples import batches, tiny_config


def one_step(remat):
    """The gradient with dropout, and the bytes the compiled step takes beside its arguments."""
    config = tiny_config(num_hidden_layers=3)
    run = assemble_pretrainer(
        config, create_mesh({}, jax.devices()[:1]), optax.sgd(1.0), lambda count: 1.0,
        seed=0, batch_size=8,
        compute=Compute(scan_layers=True, rematerialise=rematerialisation(remat)),
    )  # fmt: skip
    batch = put_batch(batches()[0], run.mesh)
    step = run.train_step.lower(run.abstract_state, batch).compile()
    state, _ = step(run.initial_state(), batch)
    return jax.device_get(state.params), step.memory_analysis().temp_size_in_bytes


def test_the_gradient_is_the_same_and_the_memory_less():
    outcomes = {remat: one_step(remat) for remat in REMATERIALISATIONS}
    expected, most = outcomes.pop("none")
    for params, size in outcomes.values():
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), params, expected
        )
        assert size < 0.9 * most


def test_a_layer_on_an_accelerator_keeps_nothing_wide_but_the_results_of_its_products():
    """Of B · L · F numbers two arrays, before and after the activation, in the compute dtype."""
    products = dataclasses.replace(products_for("gpu"), attend=PLAIN.attend)
    config = tiny_config(hidden_size=16, intermediate_size=56)
    layer = EncoderLayer(config, nnx.Rngs(0), Compute(products=products))
    states = jnp.ones((3, 5, 16), jnp.bfloat16)
    _, backward = jax.vjp(lambda layer, x: layer(x, rngs=nnx.Rngs(dropout=0)), layer, states)
    kept = [leaf for leaf in jax.tree.leaves(backward) if leaf.shape[:2] == (3, 5)]
    assert [leaf.shape[-1] for leaf in kept].count(56) == 2
    assert {leaf.dtype for leaf in kept} == {jnp.dtype("bfloat16")}


def test_another_choice_is_refused():
    with pytest.raises(UserError, match="got remat='some'; expected one of none, products, layers"):
        rematerialisation("some")
