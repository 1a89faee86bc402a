"""One device equals eight: gradients leaf by leaf, since equal losses can hide a wrong gradient."""

import functools
import itertools
import math

import jax
import numpy as np
import optax
import pytest

from bert_jax.errors import UserError
from bert_jax.training.assembly import assemble_pretrainer
from bert_jax.training.sharding import (
    AXES,
    create_mesh,
    parse_mesh,
    path_name,
    place,
    put_batch,
)  # fmt: skip
from tests.training.examples import batches, tiny_config

SHAPES = [
    dict(zip(AXES, sizes, strict=True))
    for sizes in itertools.product((1, 2, 4, 8), repeat=3)
    if math.prod(sizes) in (2, 4, 8)
]
# One piece more than the loader draws from: no mesh can split 97 rows evenly without padding.
VOCABULARY = 97


def mesh_of(axes):
    return create_mesh(axes, jax.devices()[: math.prod(axes.values())])


def pretrainer(axes, optimizer, tied=True, **choices):
    config = tiny_config(vocab_size=VOCABULARY, tie_word_embeddings=tied)
    choices = {"seed": 0, "batch_size": 8} | choices
    return assemble_pretrainer(config, mesh_of(axes), optimizer, lambda count: 1.0, **choices)


@functools.cache
def one_step(axes, tied, packed):
    """Metrics and gradients of the first step; SGD at rate 1 makes the update the gradient."""
    run = pretrainer(dict(axes), optax.sgd(1.0), tied)
    state = run.initial_state()
    before = jax.device_get(run.cut(state).params)
    batch = batches(max_instances=packed)[0]
    state, metrics = run.train_step(state, put_batch(batch, run.mesh))
    assert_padding_is_zeros(state.params)
    gradients = jax.tree.map(np.subtract, before, jax.device_get(run.cut(state).params))
    return jax.device_get(metrics), gradients


def assert_padding_is_zeros(params):
    table = params["bert"]["embeddings"]["token"]["table"]
    for rows in (table, params["mlm"]["bias"], params["mlm"].get("decoder", table)):
        assert not np.any(rows[VOCABULARY:])


def assert_close(result, expected):
    for name, value in result[0].items():
        np.testing.assert_allclose(value, expected[0][name], rtol=1e-5, err_msg=name)
    # Where the true gradient is 0 (the key bias: softmax ignores a shift) there is only rounding.
    rounding = 1e-7 * expected[0]["gradient_norm"]
    for (path, g), e in zip(
        jax.tree_util.tree_leaves_with_path(result[1]), jax.tree.leaves(expected[1]), strict=True
    ):
        atol = 1e-5 * np.abs(e).max() + rounding
        np.testing.assert_allclose(g, e, rtol=1e-5, atol=atol, err_msg=path_name(path))


@pytest.mark.parametrize(("tied", "packed"), [(True, 1), (False, 1), (True, 4), (False, 4)])
@pytest.mark.parametrize("axes", SHAPES, ids=str)
def test_losses_and_gradients_equal_those_of_one_device(axes, tied, packed):
    assert_close(one_step(tuple(axes.items()), tied, packed), one_step((), tied, packed))


def test_the_placement_follows_names_and_shapes():
    mesh = create_mesh({"data": 2, "fsdp": 2, "tensor": 2}, jax.devices()[:8])
    shapes = {
        "bert": {
            "embeddings": {
                "token": {"table": np.zeros((96, 16))},
                "segment": {"table": np.zeros((2, 16))},
                "norm": {"scale": np.zeros(16)},
            },
            "encoder": {
                "layers": {
                    "0": {
                        "attention": {
                            "query": {"kernel": np.zeros((16, 16)), "bias": np.zeros(16)},
                            "output": {"kernel": np.zeros((16, 16))},
                        }
                    }
                }
            },
        },
        "odd": {"kernel": np.zeros((3, 5))},
    }
    placed = jax.tree_util.tree_leaves_with_path(place(shapes, mesh))
    assert {path_name(path): tuple(sharding.spec) for path, sharding in placed} == {
        "bert/embeddings/token/table": (("tensor", "fsdp"), None),
        "bert/embeddings/segment/table": ("fsdp", None),
        "bert/embeddings/norm/scale": (),
        "bert/encoder/layers/0/attention/query/kernel": ("fsdp", "tensor"),
        "bert/encoder/layers/0/attention/query/bias": (),
        "bert/encoder/layers/0/attention/output/kernel": ("tensor", "fsdp"),
        "odd/kernel": (None, None),
    }


def test_optimizer_state_lives_where_its_parameter_does():
    def rate(count):
        return 1.0

    run = assemble_pretrainer(
        tiny_config(), create_mesh({"fsdp": 4}, jax.devices()[:4]), optax.adam(rate), rate,
        seed=0, batch_size=8,
    )  # fmt: skip
    state = run.initial_state()
    table = state.params["bert"]["embeddings"]["token"]["table"]
    assert table.addressable_shards[0].data.shape == (24, 16)
    moment = state.opt_state[0].mu["bert"]["embeddings"]["token"]["table"]
    assert moment.sharding == table.sharding


def test_mesh_text():
    assert parse_mesh("") == {"data": -1}
    assert parse_mesh("data:4, fsdp:2") == {"data": 4, "fsdp": 2}
    assert dict(create_mesh(parse_mesh("")).shape) == {
        "data": len(jax.devices()), "fsdp": 1, "tensor": 1,
    }  # fmt: skip
    for text in ("data=4", "data:x", "data:4;fsdp:2"):
        with pytest.raises(UserError, match="expected axis:size pairs"):
            parse_mesh(text)
    with pytest.raises(UserError, match="got mesh axis 'model'"):
        create_mesh({"model": 2})
    with pytest.raises(UserError, match="product is the number of devices, 8"):
        create_mesh({"data": 3}, jax.devices()[:8])
