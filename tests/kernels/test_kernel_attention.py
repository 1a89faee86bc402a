"""Attention by kernels equals einsum: splash in Pallas's interpreter, fused in XLA's own code."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.kernels import fused_attention, splash_attention
from bert_jax.kernels.attention import AttentionMask
from bert_jax.kernels.compute import Compute
from bert_jax.kernels.products import PLAIN
from bert_jax.model.bert import Bert
from tests.training.examples import tiny_config

KERNELS = {
    "fused": dataclasses.replace(PLAIN, attend=fused_attention.attend),
    "splash": dataclasses.replace(
        PLAIN, attend=functools.partial(splash_attention.attend, interpret=True)
    ),
}
INSTANCES = jnp.array([[1, 1, 2, 2, 2, 0], [1, 1, 1, 1, 2, 2]])
MASKS = {"all": None, "padded": INSTANCES > 0, "packed": INSTANCES}


def outputs_and_gradient(products, instances, mask):
    model = Bert(tiny_config(), nnx.Rngs(0), Compute(products=products))
    ids = jnp.arange(instances.size).reshape(instances.shape) % model.config.vocab_size
    real = (instances > 0)[..., None]

    def total(model):
        hidden = model(ids, None, mask).last_hidden_state
        return jnp.sum(jnp.where(real, hidden, 0) ** 3), jnp.where(real, hidden, 0)

    gradient, hidden = jax.jit(jax.grad(total, has_aux=True))(model)
    return hidden, jax.tree.leaves(gradient)


def assert_equal(products, instances, mask):
    hidden, gradient = outputs_and_gradient(products, instances, mask)
    expected, expected_gradient = outputs_and_gradient(PLAIN, instances, mask)
    np.testing.assert_allclose(hidden, expected, rtol=1e-5, atol=1e-6)
    for g, e in zip(gradient, expected_gradient, strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-5, atol=1e-5 * np.abs(e).max() + 1e-6)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_it_equals_einsum_at_every_real_token_and_in_every_gradient(kernel, mask):
    assert_equal(KERNELS[kernel], INSTANCES, MASKS[mask])


@settings(max_examples=4, deadline=None)
@given(st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_splash_takes_any_length_and_any_packing(length, seed):
    rng = np.random.default_rng(seed)
    query, key, value = (jnp.asarray(rng.normal(size=(2, length, 2, 8)), "f4") for _ in range(3))
    instances = jnp.asarray(rng.integers(1, 4, (2, length)))  # instances need not be contiguous
    allowed = AttentionMask((instances[:, None, :, None] == instances[:, None, None, :]), instances)
    got = splash_attention.attend(query, key, value, allowed, 0.0, None, interpret=True)
    expected = PLAIN.attend(query, key, value, allowed, 0.0, None)
    np.testing.assert_allclose(got, expected, atol=2e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_it_refuses_to_drop_attention_weights(kernel):
    model = Bert(tiny_config(), nnx.Rngs(0), Compute(products=KERNELS[kernel]))
    said = rf"attention_probs_dropout_prob=0\.1 with {kernel} attention"
    with pytest.raises(UserError, match=said):
        model(jnp.ones((1, 4), int), rngs=nnx.Rngs(dropout=0))


def test_splash_refuses_a_mask_that_no_instance_ids_describe():
    model = Bert(tiny_config(), nnx.Rngs(0), Compute(products=KERNELS["splash"]))
    with pytest.raises(UserError, match=r"an attention_mask \[B, L, L\] with splash attention"):
        model(jnp.ones((1, 4), int), None, jnp.tril(jnp.ones((1, 4, 4), bool)))
