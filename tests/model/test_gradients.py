"""Gradients of every module against differences, in float64, where either is right to 1e-6.

The code computes in float32 wherever it says so; here every `jnp.float32` of it is a float64.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads

from bert_jax.config import BertConfig
from bert_jax.kernels.activations import ACTIVATIONS
from bert_jax.kernels.attention import attend, within_instances
from bert_jax.kernels.compute import Compute
from bert_jax.model.bert import BertForPreTraining
from bert_jax.model.task_heads import (
    BertForMultipleChoice,
    BertForSequenceClassification,
    BertForTokenClassification,
)
from bert_jax.parameters import merge_model, split_model
from bert_jax.training.losses import weighted_cross_entropy

CONFIG = BertConfig(
    vocab_size=13, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12,
    max_position_embeddings=9, initializer_range=0.5, hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)  # fmt: skip


@pytest.fixture(autouse=True)
def double(monkeypatch):
    with jax.enable_x64(True):
        monkeypatch.setattr(jnp, "float32", jnp.float64)
        yield


def check(function, *arguments):
    """Reverse mode against central differences in a random direction."""
    check_grads(function, arguments, order=1, modes=["rev"], atol=1e-6, rtol=1e-6, eps=1e-5)


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    check(ACTIVATIONS[name], drawn(50) + 0.01)


@pytest.mark.parametrize("weights", [[1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 2]])
def test_the_cross_entropy(weights):
    labels = jnp.array([0, 2, 4, 1])
    check(
        lambda logits: weighted_cross_entropy(logits, labels, jnp.asarray(weights, float))[0],
        drawn(4, 5),
    )


IDS = {
    "all": [[1, 1, 1], [1, 1, 1]],
    "padding": [[1, 1, 0], [1, 0, 0]],
    "packed": [[1, 2, 2], [1, 2, 0]],
    "one token": [[1], [1]],
    "nothing": [[0, 0, 0], [1, 1, 1]],
}


@pytest.mark.parametrize("ids", IDS)
def test_attention(ids):
    ids = jnp.array(IDS[ids])
    shape, real = (*ids.shape, 2, 4), (ids > 0)[..., None, None]  # no loss looks at other places
    query, key, value = (drawn(*shape, seed=seed) for seed in range(3))
    for mask in (within_instances(ids), within_instances(ids > 0), None):
        check(lambda q, k, v, mask=mask: real * attend(q, k, v, mask, 0.0, None), query, key, value)
    seed = jnp.array([1, 2], jnp.uint32)
    mask = within_instances(ids)
    check(lambda q, k, v: real * attend(q, k, v, mask, 0.3, seed), query, key, value)


MODELS = {
    "untied": (BertForPreTraining, {}, CONFIG.replace(tie_word_embeddings=False), {}),
    "stacked": (BertForPreTraining, {}, CONFIG.replace(num_hidden_layers=2), {"scan_layers": True}),
    "sequences": (BertForSequenceClassification, {"num_labels": 3}, CONFIG, {}),
    "tokens": (BertForTokenClassification, {"num_labels": 3}, CONFIG, {}),
    "choices": (BertForMultipleChoice, {}, CONFIG, {}),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_with_all_their_modules(name):
    kind, options, config, how = MODELS[name]
    compute = Compute(dtype=jnp.float64, **how)
    definition, params = split_model(kind(config, nnx.Rngs(0), compute, **options))
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
    draw = np.random.default_rng(0)
    shape = (2, 3, 7) if kind is BertForMultipleChoice else (3, 7)
    ids = jnp.asarray(draw.integers(0, 13, shape))
    types, mask = jnp.asarray(draw.integers(0, 2, shape)), jnp.asarray(draw.random(shape) < 0.8)

    def outputs(params):
        found = merge_model(definition, params)(ids, types, mask)
        return [leaf for leaf in jax.tree.leaves(found) if leaf.dtype == jnp.float64]

    assert outputs(params)
    check(jax.jit(outputs), params)
