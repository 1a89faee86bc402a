import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.training.losses import weighted_cross_entropy
from bert_jax.training.objectives import MLM, MLM_AND_NSP

means = MLM_AND_NSP.means


def test_hand_set_logits():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    nats, hits = weighted_cross_entropy(logits, jnp.array([0, 1]), jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(nats, np.log(2) + 2 * np.log(10), rtol=1e-6)
    assert hits == 1.0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_loss_and_gradient_equal_those_of_the_one_hot_definition(seed):
    draw = np.random.default_rng(seed)
    logits = jnp.asarray(draw.normal(size=(6, 5)) * 4, jnp.float32)
    weights = jnp.asarray(draw.integers(0, 3, 6), jnp.float32)
    labels = jnp.asarray(draw.integers(0, 5, 6))

    def ours(logits, weights):
        return weighted_cross_entropy(logits, labels, weights)[0]

    def one_hot(logits, weights):
        return -jnp.sum(jnp.eye(5)[labels] * jax.nn.log_softmax(logits), axis=-1) @ weights

    np.testing.assert_allclose(ours(logits, weights), one_hot(logits, weights), rtol=1e-5)
    for got, expected in zip(
        jax.grad(ours, (0, 1))(logits, weights), jax.grad(one_hot, (0, 1))(logits, weights),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_the_gradient_by_hand():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    gradient = jax.grad(
        lambda logits: weighted_cross_entropy(logits, jnp.array([0, 1]), jnp.array([1.0, 2.0]))[0]
    )(logits)
    np.testing.assert_allclose(gradient, [[-0.5, 0.25, 0.25], [0.2, -1.8, 1.6]], atol=1e-6)


def test_bfloat16_logits_are_summed_in_float32():
    logits = jnp.zeros((1, 1000), jnp.bfloat16)
    nats, _ = weighted_cross_entropy(logits, jnp.array([3]), jnp.ones(1))
    assert nats.dtype == jnp.float32
    np.testing.assert_allclose(nats, np.log(1000), rtol=1e-6)


def test_means_divide_by_counts_not_by_rows():
    sums = {
        "mlm_nats": 6.0, "mlm_hits": 1.0, "mlm_count": 4.0,
        "nsp_nats": 1.0, "nsp_hits": 2.0, "nsp_count": 2.0,
    }  # fmt: skip
    assert {k: float(v) for k, v in means(sums).items()} == {
        "loss": 2.0, "mlm_loss": 1.5, "nsp_loss": 0.5, "mlm_accuracy": 0.25, "nsp_accuracy": 1.0,
    }  # fmt: skip


def test_nothing_masked_is_no_loss_and_no_nan():
    empty = dict.fromkeys(
        ("mlm_nats", "mlm_hits", "mlm_count", "nsp_nats", "nsp_hits", "nsp_count"), 0.0
    )
    assert all(float(value) == 0.0 for value in means(empty).values())


def test_masked_lm_alone_asks_for_no_pairs():
    found = MLM.means({"mlm_nats": 6.0, "mlm_hits": 1.0, "mlm_count": 4.0})
    assert {k: float(v) for k, v in found.items()} == {
        "loss": 1.5, "mlm_loss": 1.5, "mlm_accuracy": 0.25
    }  # fmt: skip
