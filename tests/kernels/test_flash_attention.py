"""Flash attention with dropout, in Pallas's interpreter: einsum's numbers, mask for mask."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.kernels import flash_attention
from bert_jax.kernels.attention import AttentionMask, attend, attend_plainly, within_instances
from bert_jax.kernels.dropout import keep_mask
from bert_jax.kernels.flash_attention import GPU, TPU

SEED = jnp.array([3, 2**31 + 5], jnp.uint32)
# Kernels, what a kernel is for, and shapes [B, L, N, H]: several blocks and one, whole and not.
CASES = {
    "gpu, three blocks": (GPU.interpreted(16, 32), (2, 37, 3, 5), 0.4),
    "gpu, its own block": (GPU.interpreted(), (2, 7, 2, 16), 0.1),
    "tpu, two blocks": (TPU.interpreted(8, 32), (2, 32, 2, 8), 0.1),
    "tpu, its own block": (TPU.interpreted(), (2, 130, 1, 4), 0.0),
}


@functools.cache
def compiled(attend, shape, rate, dtype="float32"):
    """A function to the output, and to the gradients of its product with fixed numbers."""
    into = jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)

    def total(query, key, value, ids, seed):
        mixed = attend(query, key, value, within_instances(ids), rate, seed if rate else None)
        return jnp.sum(mixed.astype(jnp.float32) * into), mixed

    @jax.jit
    def run(states, ids, seed):
        states = [x.astype(dtype) for x in states]
        (_, mixed), gradients = jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True)(
            *states, ids, seed
        )
        return mixed, *gradients

    return run


@functools.cache
def flash(target):
    return functools.partial(flash_attention.attend, target=target)


def states(shape, seed=0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for _ in range(3)]


@pytest.mark.parametrize("case", CASES)
@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 4))
def test_it_equals_einsum_with_dropout_in_output_and_gradients(case, seed, instances):
    """Whatever is packed, in runs or not, padded or nothing but padding."""
    target, shape, rate = CASES[case]
    rng = np.random.default_rng(seed)
    ids = jnp.asarray(rng.integers(0, instances + 1, shape[:2]), jnp.int32)
    given = states(shape, seed), ids, jnp.asarray(rng.integers(0, 2**32, 2, "u4"))
    got = compiled(flash(target), shape, rate)(*given)
    expected = compiled(attend_plainly, shape, rate)(*given)
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-5, atol=1e-5 * np.abs(e).max() + 1e-6)


@pytest.mark.parametrize("number", [6e4, 6e-8])
@pytest.mark.parametrize("real", [0, 1, 37])
def test_numbers_of_half_precision_leave_it_finite(number, real):
    target, shape, rate = CASES["gpu, three blocks"]
    ids = jnp.broadcast_to(jnp.asarray(np.arange(37) < real, jnp.int32), shape[:2])
    given = [number * x for x in states(shape)], ids, SEED
    for x in compiled(flash(target), shape, rate)(*given):
        assert np.isfinite(x).all()


@pytest.mark.parametrize("target", [GPU.interpreted(16, 32), TPU.interpreted(8, 16)])
def test_the_elements_it_drops_are_those_of_keep_mask(target):
    shape, rate = (2, 24, 3, 24), 0.3
    query, key, _ = states(shape)
    # A value for each key that is 1 in a place of its own: what comes out are the weights.
    value = jnp.broadcast_to(jnp.eye(24)[None, :, None, :], shape)
    weights = jax.jit(flash(target), static_argnums=4)(query, key, value, None, rate, SEED)
    weights = weights.swapaxes(1, 2)
    np.testing.assert_array_equal(weights > 0, keep_mask(SEED, rate, (2, 3, 24, 24)))


def test_in_bfloat16_it_is_as_far_from_float32_as_einsum_is():
    target = GPU.interpreted(16, 32)
    shape, rate = (2, 64, 2, 16), 0.1
    ids = jnp.asarray(np.repeat([[1, 2, 3, 0], [1, 1, 1, 2]], 16, axis=1), jnp.int32)
    given = [x.astype(jnp.bfloat16).astype(jnp.float32) for x in states(shape)], ids, SEED
    exact = compiled(attend_plainly, shape, rate)(*given)
    einsum = compiled(attend, shape, rate, "bfloat16")(*given)
    ours = compiled(flash(target), shape, rate, "bfloat16")(*given)
    for x, y, e in zip(ours, einsum, exact, strict=True):
        assert x.dtype == jnp.bfloat16
        far, einsum_far = (np.linalg.norm(np.asarray(a, np.float32) - e) for a in (x, y))
        assert far < 1.2 * einsum_far + 1e-3 * np.linalg.norm(e)


def sizes(jaxpr):
    """How many numbers each array of a program holds, those inside kernels too."""
    for equation in jaxpr.eqns:
        yield from (v.aval.size for v in equation.outvars if hasattr(v.aval, "size"))
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")
        ):
            if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                yield from sizes(getattr(inner, "jaxpr", inner))


@pytest.mark.parametrize("target", [GPU, TPU])
def test_no_array_is_as_large_as_the_weights(target):
    shape = rows, length, heads, width = (2, 512, 4, 64)
    given = [jax.ShapeDtypeStruct(shape, jnp.float32)] * 3
    weights = rows * heads * length**2
    real = jax.ShapeDtypeStruct((rows, length), jnp.bool)

    def largest(attend):
        run = compiled(attend, shape, 0.1)
        return max(sizes(jax.make_jaxpr(run)(given, real, SEED).jaxpr))

    assert largest(attend_plainly) == weights
    # On a TPU a block of scores is a whole row's, and one head's.
    assert largest(flash(target)) == max(rows * length * heads * width, length**2)


def test_it_refuses_a_mask_that_no_instance_ids_describe():
    x = jnp.zeros((1, 4, 1, 8))
    mask = AttentionMask(jnp.tril(jnp.ones((1, 1, 4, 4), bool)), None)
    with pytest.raises(UserError, match=r"an attention_mask \[B, L, L\] with flash attention"):
        flash(GPU)(x, x, x, mask, 0.0, None)
