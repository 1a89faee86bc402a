import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.kernels import accelerator_products, products


def gradients(decode, hidden, table, bias):
    def total(*arrays):
        return jnp.sum(jnp.sin(decode(*arrays)))

    return jax.grad(total, (0, 1, 2))(hidden, table, bias)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 5e-3)])
def test_logits_are_the_same_and_gradients_round_as_the_model_does(dtype, tolerance):
    draw = np.random.default_rng(0)
    hidden = jnp.asarray(draw.normal(size=(3, 4, 8)), dtype)
    table, bias = jnp.asarray(draw.normal(size=(11, 8)) / 3, "f4"), jnp.zeros(11)
    np.testing.assert_array_equal(
        accelerator_products.decode(hidden, table, bias), products.decode(hidden, table, bias)
    )
    for got, expected in zip(
        gradients(accelerator_products.decode, hidden, table, bias),
        gradients(products.decode, hidden, table, bias),
        strict=True,
    ):
        assert got.dtype == expected.dtype
        got, expected = (np.asarray(x, np.float64) for x in (got, expected))
        assert np.linalg.norm(got - expected) <= tolerance * np.linalg.norm(expected)


def test_no_product_of_a_bfloat16_models_backward_pass_is_fp32():
    hidden = jnp.ones((3, 4, 8), jnp.bfloat16)
    table, bias = jnp.ones((11, 8)), jnp.zeros(11)
    jaxpr = jax.make_jaxpr(lambda *arrays: gradients(accelerator_products.decode, *arrays))(
        hidden, table, bias
    )
    products_made = [line for line in str(jaxpr).splitlines() if "dot_general" in line]
    assert len(products_made) == 3
    assert sum("f32[" in line for line in products_made) == 1  # the logits themselves
