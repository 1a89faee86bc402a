"""The largest and the smallest numbers that half precision holds: outputs and gradients are finite.

In float16 6e4 is near the end; 6e-8, and 1e-40 in float32, lie below the normal numbers.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import log_softmax, softmax

from bert_jax.errors import UserError
from bert_jax.kernels import fused_attention, splash_attention
from bert_jax.kernels.activations import ACTIVATIONS
from bert_jax.kernels.attention import AttentionMask, attend, within_instances
from bert_jax.kernels.compute import Compute
from bert_jax.model.bert import BertForPreTraining
from bert_jax.parameters import merge_model, split_model
from bert_jax.pooling import POOLINGS, unit_length
from bert_jax.training.losses import weighted_cross_entropy
from tests.training.examples import tiny_config

DTYPES = ["float32", "bfloat16"]
NUMBERS = [6e4, -6e4, 65504.0, 6e-8, -6e-8, 1e-40, 0.0]
KERNELS = {
    "einsum": attend,
    "fused": fused_attention.attend,
    "splash": functools.partial(splash_attention.attend, interpret=True),
}


def all_finite(tree):
    return all(bool(jnp.isfinite(leaf.astype(jnp.float32)).all()) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_and_their_slopes(dtype):
    x = jnp.array(NUMBERS, dtype)
    for activation in ACTIVATIONS.values():
        slope = jax.vmap(jax.grad(lambda v, f=activation: f(v).astype(jnp.float32)))
        assert all_finite((activation(x), slope(x)))


CHANGES = {
    "6e4": lambda p: jnp.where(p >= 0, 6e4, -6e4),
    "subnormal": lambda p: jnp.sign(p) * 1e-40,
    "half's smallest": lambda p: jnp.sign(p) * 6e-8,
}


def test_a_model_of_such_parameters_has_finite_outputs_losses_and_gradients():
    model = BertForPreTraining(tiny_config(), nnx.Rngs(0), Compute(dtype="bfloat16"))
    definition, params = split_model(model)
    ids = jnp.asarray(np.random.default_rng(0).integers(5, 96, (3, 16)))
    mask = jnp.arange(16) < jnp.array([16, 7, 0])[:, None]  # whole, in part, nothing at all

    @jax.jit
    def step(params):
        def loss(params):
            output = merge_model(definition, params)(ids, None, mask)
            nats, _ = weighted_cross_entropy(output.mlm_logits, ids, mask.astype(jnp.float32))
            pairs, _ = weighted_cross_entropy(output.nsp_logits, ids[:, 0] % 2, jnp.ones(3))
            return nats + pairs, output

        return jax.value_and_grad(loss, has_aux=True)(params)

    embeddings = params["bert"]["embeddings"]
    for change in CHANGES.values():
        bert = {**params["bert"], "embeddings": jax.tree.map(change, embeddings)}
        assert all_finite(step({**params, "bert": bert}))
        assert all_finite(step(jax.tree.map(change, params)))


@pytest.mark.parametrize("number", [6e4, 6e-8, 1e-40])
def test_vectors_of_texts(number):
    hidden = number * jnp.asarray(np.random.default_rng(0).normal(size=(3, 5, 4)), jnp.float32)
    mask = jnp.arange(5) < jnp.array([5, 1, 3])[:, None]
    for pooling in POOLINGS:
        assert all_finite(jax.value_and_grad(lambda h, p=pooling: p.of(h, mask).sum())(hidden))
    assert all_finite(jax.value_and_grad(lambda h: unit_length(h).sum())(hidden))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_cross_entropy_of_such_scores(dtype):
    draw = np.random.default_rng(0)
    scores = jnp.asarray(draw.choice(NUMBERS, (40, 9)), dtype)
    labels, weights = jnp.asarray(draw.integers(0, 9, 40)), draw.integers(0, 2, 40)
    exact = log_softmax(np.asarray(scores, np.float64), -1)[np.arange(40), labels]
    nats, gradient = jax.value_and_grad(
        lambda s: weighted_cross_entropy(s, labels, jnp.asarray(weights, jnp.float32))[0]
    )(scores)
    np.testing.assert_allclose(nats, -exact @ weights, rtol=1e-6)
    assert all_finite(gradient)
    assert not np.any(np.asarray(gradient, np.float32)[weights == 0])


MASKS = {"all masked": 0, "one token": 1, "some": 5, "none masked": None}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("kernel", "length"), [("einsum", 1), ("einsum", 512), ("fused", 512), ("splash", 512)]
)
def test_attention(kernel, length, dtype):
    """Against float64, wherever a query may look at something."""
    draw = np.random.default_rng(0)
    shape = (2, length, 1, 8)
    for number in (6e4, 1.0, 6e-8):
        query, key, value = (jnp.asarray(number * draw.normal(size=shape), dtype) for _ in "qkv")
        for real in MASKS.values():
            ids = jnp.asarray(np.arange(length) < (length if real is None else real), jnp.int32)
            ids = jnp.broadcast_to(ids, (2, length))
            mask = None if real is None else within_instances(ids)

            def total(*states, mask=mask, ids=ids):
                mixed = KERNELS[kernel](*states, mask, 0.0, None)
                return jnp.sum(mixed.astype(jnp.float32) * ids[..., None, None]), mixed

            gradients, mixed = jax.grad(total, (0, 1, 2), has_aux=True)(query, key, value)
            assert all_finite((mixed, gradients))
            seen = int(ids[0].sum())
            if number == 1.0 and seen:
                q, k, v = (np.asarray(x, np.float64)[0, :seen, 0] for x in (query, key, value))
                expected = softmax(q @ k.T / np.sqrt(8), -1) @ v
                tolerance = 2e-6 if dtype == "float32" else 3e-2
                got = np.asarray(mixed, np.float64)[0, :seen, 0]
                np.testing.assert_allclose(got, expected, atol=tolerance)


@pytest.mark.parametrize("kernel", ["einsum", "fused"])  # splash has no such masks
def test_a_query_that_may_look_at_nothing_pulls_at_no_score(kernel):
    draw = np.random.default_rng(0)
    query, key, value = (jnp.asarray(draw.normal(size=(1, 4, 1, 3)), jnp.float32) for _ in "qkv")
    allowed = jnp.array([[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]], bool)
    mask = AttentionMask(allowed[None, None], None)

    def total(query, key, value, rows):
        mixed = KERNELS[kernel](query, key, value, mask, 0.0, None)
        return jnp.sum(mixed[:, rows] * jnp.arange(3.0))

    nothing = jax.grad(total, (0, 1, 2))(query, key, value, np.array([1, 3]))
    np.testing.assert_array_equal(nothing[0], 0)
    np.testing.assert_array_equal(nothing[1], 0)
    # They see the mean of all values.
    np.testing.assert_allclose(nothing[2], np.tile(np.arange(3) / 2, (4, 1))[None, :, None], 1e-6)


def test_float16_is_refused():
    for dtype in ("float16", jnp.float16, "int32", "flot32", None):
        with pytest.raises(UserError, match="expected float32 or bfloat16"):
            Compute(dtype=dtype)
