import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from bert_jax.errors import UserError
from bert_jax.model.attention import attention_mask_from_instances
from bert_jax.model.bert import Bert
from bert_jax.model.fused_attention import with_fused_attention
from bert_jax.model.products import PLAIN
from tests.training.examples import tiny_config

INSTANCES = jnp.array([[1, 1, 2, 2, 2, 0], [1, 1, 1, 1, 2, 2]])


def outputs_and_gradient(products, mask, dtype=jnp.float32):
    model = Bert(tiny_config(), nnx.Rngs(0), products=products, dtype=dtype)
    ids = jnp.arange(12).reshape(2, 6)
    real = (INSTANCES > 0)[..., None]

    def total(model):
        hidden = model(ids, None, mask).last_hidden_state
        return jnp.sum(jnp.where(real, hidden, 0) ** 3), jnp.where(real, hidden, 0)

    gradient, hidden = jax.grad(total, has_aux=True)(model)
    return hidden, jax.tree.leaves(gradient)


@pytest.mark.parametrize("packed", [False, True])
def test_it_equals_einsum_at_every_real_token_and_in_every_gradient(packed):
    mask = attention_mask_from_instances(INSTANCES) if packed else INSTANCES > 0
    hidden, gradient = outputs_and_gradient(with_fused_attention(PLAIN), mask)
    expected, expected_gradient = outputs_and_gradient(PLAIN, mask)
    np.testing.assert_allclose(hidden, expected, rtol=1e-5, atol=1e-6)
    for g, e in zip(gradient, expected_gradient, strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-5, atol=1e-5 * np.abs(e).max() + 1e-6)


def test_it_refuses_to_drop_attention_weights():
    model = Bert(tiny_config(), nnx.Rngs(0), products=with_fused_attention(PLAIN))
    with pytest.raises(UserError, match=r"attention_probs_dropout_prob=0\.1 with fused attention"):
        model(jnp.ones((1, 4), int), rngs=nnx.Rngs(dropout=0))
