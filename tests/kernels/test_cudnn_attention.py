"""cuDNN's attention: asked for by name where a device has it, and right where one is at hand."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from bert_jax.kernels import fused_attention
from bert_jax.kernels.attention import within_instances
from bert_jax.kernels.compute import Compute
from bert_jax.kernels.products import PLAIN
from bert_jax.model.bert import Bert
from tests.training.examples import tiny_config

LENGTH = 64
INSTANCES = jnp.sort(jnp.asarray(np.random.default_rng(0).integers(0, 4, (4, LENGTH))))[:, ::-1]
MASKS = {"all": None, "padded": INSTANCES > 0, "packed": INSTANCES}
CUDNN = dataclasses.replace(
    PLAIN, attend=functools.partial(fused_attention.attend, implementation="cudnn")
)

on_nvidia = pytest.mark.skipif(
    not jax.devices()[0].device_kind.startswith("NVIDIA"), reason="needs an NVIDIA GPU"
)


def run(products, mask, dtype):
    """Hidden states and gradients, and the compiled program, of a model of the published shapes."""
    config = tiny_config(
        hidden_size=128,
        num_attention_heads=2,
        intermediate_size=256,
        max_position_embeddings=LENGTH,
    )
    model = Bert(config, nnx.Rngs(0), Compute(dtype=dtype, products=products))
    ids = jnp.arange(INSTANCES.size).reshape(INSTANCES.shape) % config.vocab_size
    real = (INSTANCES > 0)[..., None]

    def total(model):
        hidden = jnp.where(real, model(ids, None, mask).last_hidden_state, 0)
        return jnp.sum(hidden.astype(jnp.float32) ** 3), hidden

    step = jax.jit(jax.grad(total, has_aux=True)).lower(model).compile()
    gradient, hidden = step(model)
    return [hidden, *jax.tree.leaves(gradient)], step.as_text()


def distance(got, expected):
    got, expected = (np.asarray(x, np.float64) for x in (got, expected))
    return np.linalg.norm(got - expected) / (np.linalg.norm(expected) + 1e-9)


@on_nvidia
@pytest.mark.parametrize("mask", MASKS)
def test_it_rounds_as_einsum_does_at_real_tokens_and_in_gradients(mask):
    with jax.default_matmul_precision("highest"):
        exact, _ = run(PLAIN, MASKS[mask], jnp.float32)
    einsum, program = run(PLAIN, MASKS[mask], jnp.bfloat16)
    assert "fmha" not in program
    cudnn, program = run(CUDNN, MASKS[mask], jnp.bfloat16)
    assert "fmha" in program
    for ours, theirs, expected in zip(cudnn, einsum, exact, strict=True):
        if np.abs(expected).max() > 1e-4:  # a key's bias changes nothing: its gradient is rounding
            assert distance(ours, expected) < 2 * distance(theirs, expected) + 2e-3


@pytest.mark.parametrize(
    ("dtype", "length", "size", "expected"),
    [
        ("bfloat16", 128, 64, "cudnn"),
        ("float16", 2, 8, "cudnn"),
        ("float32", 128, 64, "xla"),
        ("bfloat16", 127, 64, "xla"),
        ("bfloat16", 128, 12, "xla"),
        ("bfloat16", 128, 136, "xla"),
    ],
)
def test_xla_computes_what_cudnn_has_no_kernel_for(monkeypatch, dtype, length, size, expected):
    asked = []

    def attention(query, key, value, *, mask, implementation):
        assert implementation == "xla" or mask.shape == (2, 1, length, length)
        asked.append(implementation)
        return query

    monkeypatch.setattr(jax.nn, "dot_product_attention", attention)
    states = jnp.zeros((2, length, 2, size), dtype)
    allowed = within_instances(jnp.ones((2, length), bool))
    fused_attention.attend(states, states, states, allowed, 0.0, None, implementation="cudnn")
    assert asked == [expected]
