import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from bert_jax.errors import UserError
from bert_jax.model.bert import BertForPreTraining
from bert_jax.parameters import split_model
from bert_jax.training.optimizers import OPTIMIZERS, clip_by_global_norm, create_optimizer, decays
from bert_jax.training.sharding import path_name
from tests.training.examples import tiny_config


@pytest.fixture(scope="module")
def params():
    return split_model(BertForPreTraining(tiny_config(), nnx.Rngs(0)))[1]


def names(tree, keep):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_name(path) for path, leaf in leaves if keep(leaf)}


def test_decay_leaves_biases_and_layer_norm_alone(params):
    exempt = names(decays(params), lambda decayed: not decayed)
    assert {name.split("/")[-1] for name in exempt} == {"bias", "scale"}
    assert "mlm/bias" in exempt
    decayed = names(decays(params), bool)
    assert {"bert/embeddings/token/table", "nsp/dense/kernel"} <= decayed
    assert "bert/encoder/layers/0/feed_forward/down/kernel" in decayed


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_without_a_gradient_only_decayed_parameters_move(name, params):
    optimizer = create_optimizer(name, lambda count: 0.1, weight_decay=0.5)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    moved = names(updates, lambda update: bool(jnp.any(update != 0)))
    kept = {"bert/embeddings/token/table"} if name == "row_lazy_adamw" else set()
    assert moved == names(decays(params), bool) - kept


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_descends_a_quadratic(name, params):
    # LAMB moves by a share of the parameter, SGD by one of the gradient, the others by an amount.
    rate = 0.1 if name in ("lamb", "sgd") else 0.003
    target = jax.tree.map(lambda x: x + 0.05, params)
    optimizer = create_optimizer(name, lambda count: rate, weight_decay=0.0)

    def distance(p):
        return sum(jnp.sum((a - b) ** 2) for a, b in pairs(p, target))

    @jax.jit
    def step(p, state):
        updates, state = optimizer.update(jax.grad(distance)(p), state, p)
        return optax.apply_updates(p, updates), state

    start, p, state = distance(params), params, optimizer.init(params)
    for _ in range(30):
        p, state = step(p, state)
    assert distance(p) < 0.6 * start


def pairs(a, b):
    return zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)


def test_bert_adam_is_adam_without_bias_correction():
    optimizer = create_optimizer("bert_adam", lambda count: 1.0, weight_decay=0.1, clip_norm=0)
    params, g = {"kernel": jnp.array([2.0])}, {"kernel": jnp.array([0.5])}
    updates, state = optimizer.update(g, optimizer.init(params), params)
    m, v = 0.1 * 0.5, 0.001 * 0.25
    expected = -(m / (np.sqrt(v) + 1e-6) + 0.1 * 2.0)
    np.testing.assert_allclose(updates["kernel"], [expected], rtol=1e-5)
    updates, _ = optimizer.update(g, state, params)
    m, v = 0.9 * m + 0.1 * 0.5, 0.999 * v + 0.001 * 0.25
    expected = -(m / (np.sqrt(v) + 1e-6) + 0.1 * 2.0)
    np.testing.assert_allclose(updates["kernel"], [expected], rtol=1e-5)


def test_muon_orthogonalises_encoder_matrices_only(params):
    optimizer = create_optimizer("muon", lambda count: 1.0, weight_decay=0.0, clip_norm=0)
    draw = np.random.default_rng(0)
    gradients = jax.tree.map(lambda x: jnp.asarray(draw.normal(size=x.shape), x.dtype), params)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    kernel = updates["bert"]["encoder"]["layers"]["0"]["attention"]["query"]["kernel"]
    spectrum = np.linalg.svd(np.asarray(kernel), compute_uv=False)
    assert spectrum.max() / spectrum.min() < 3.0  # of a random matrix: far above 10
    np.testing.assert_allclose(np.sqrt(np.mean(kernel**2)), 0.2, rtol=0.3)
    token = updates["bert"]["embeddings"]["token"]["table"]
    np.testing.assert_allclose(jnp.abs(token), 1.0, rtol=1e-2)  # Adam's first step: a sign


def test_clipping_bounds_the_global_norm():
    optimizer = create_optimizer("adamw", lambda count: 1.0, weight_decay=0.0, clip_norm=1.0)
    big = {"kernel": jnp.full((4,), 100.0)}
    _, state = optimizer.update(big, optimizer.init(big), big)
    mu = optax.tree.get(state, "mu")["kernel"]
    np.testing.assert_allclose(jnp.linalg.norm(mu), 0.1, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_clipping_is_that_of_optax(scale):
    draw = np.random.default_rng(0)
    gradients = {n: jnp.asarray(scale * draw.standard_normal(n, np.float32)) for n in (3, 50)}
    got, _ = clip_by_global_norm(0.5).update(gradients, optax.EmptyState())
    wanted, _ = optax.clip_by_global_norm(0.5).update(gradients, optax.EmptyState())
    for n in gradients:
        np.testing.assert_allclose(got[n], wanted[n], rtol=3e-7)
        assert scale > 0.1 or (got[n] == gradients[n]).all()  # below the norm: the same bits
    zero, _ = clip_by_global_norm(0.5).update({"a": jnp.zeros(3)}, optax.EmptyState())
    assert (zero["a"] == 0).all()


def test_clipping_writes_no_second_copy_of_a_gradient():
    optimizer = create_optimizer("adamw", lambda count: 1e-3)

    def step(params, state, gradients):
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    params = {"a": {"kernel": jnp.ones((512, 512))}}
    compiled = jax.jit(step, donate_argnums=(0, 1)).lower(params, optimizer.init(params), params)
    assert compiled.compile().memory_analysis().temp_size_in_bytes < 512 * 512


def test_unknown_name():
    with pytest.raises(UserError, match="'adamm'; expected one of adamw, bert_adam"):
        create_optimizer("adamm", lambda count: 1.0)
