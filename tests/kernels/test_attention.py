"""Einsum attention: the numbers of automatic differentiation, and in bf16 cheaper products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.kernels.attention import attend, within_instances
from bert_jax.kernels.compute import default_products, products_for
from bert_jax.kernels.cpu_products import CPU
from bert_jax.kernels.products import PLAIN

B, L, N, H = 2, 7, 3, 4


def states(dtype, seed=0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=(B, L, N, H)), dtype) for _ in range(3)]


def value_and_gradients(attend, arrays, allowed, rate, seed):
    """The output, and the gradients of its product with fixed numbers."""
    into = jnp.asarray(np.random.default_rng(1).normal(size=(B, L, N, H)), jnp.float32)

    def total(query, key, value):
        mixed = attend(query, key, value, allowed, rate, seed)
        return jnp.sum(mixed.astype(jnp.float32) * into), mixed

    (_, mixed), gradients = jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True)(*arrays)
    return mixed, *gradients


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["all", "padded", "packed"]), st.booleans())
def test_it_has_the_gradients_of_automatic_differentiation(seed, mask, drops):
    instances = jnp.asarray(np.random.default_rng(seed).integers(0, 3, (B, L)))
    allowed = {
        "all": None, "padded": within_instances(instances > 0),
        "packed": within_instances(instances),
    }[mask]  # fmt: skip
    rate, key = (0.4, jnp.array([seed, 1], jnp.uint32)) if drops else (0.0, None)
    arrays = states(jnp.float32, seed)
    got = value_and_gradients(attend, arrays, allowed, rate, key)
    expected = value_and_gradients(PLAIN.attend, arrays, allowed, rate, key)
    np.testing.assert_array_equal(got[0], expected[0])
    for g, e in zip(got[1:], expected[1:], strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-5, atol=1e-5 * np.abs(e).max() + 1e-6)


def products_with_weights(jaxpr):
    """Dtypes of the operands of every product that takes or makes an array [B, N, L, L]."""
    found = []
    for equation in jaxpr.eqns:
        shapes = [v.aval.shape for v in (*equation.invars, *equation.outvars)]
        if equation.primitive.name == "dot_general" and any(s[-2:] == (L, L) for s in shapes):
            found.append({v.aval.dtype.name for v in equation.invars})
        inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
        if inner is not None:
            found += products_with_weights(getattr(inner, "jaxpr", inner))
    return found


@pytest.mark.parametrize(("attend", "float32_too"), [(attend, 0), (PLAIN.attend, 2)])
def test_a_bfloat16_model_multiplies_in_bfloat16(attend, float32_too):
    gradients = jax.make_jaxpr(lambda *a: value_and_gradients(attend, a, None, 0.0, None))
    found = products_with_weights(gradients(*states(jnp.bfloat16)).jaxpr)
    assert len(found) == 6  # two forwards, and of each the gradients of both operands
    assert sum("float32" in dtypes for dtypes in found) == float32_too


def test_every_backend_has_it():
    assert default_products() is products_for(jax.default_backend())
    assert products_for("cpu") is CPU
    assert products_for("gpu") is products_for("tpu")
    for backend in ("cpu", "gpu", "tpu"):
        assert products_for(backend).attend is attend
    assert products_for("gpu").dense is PLAIN.dense
