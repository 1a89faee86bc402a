"""One device equals eight: gradients leaf by leaf, since equal losses can hide a wrong gradient."""

import functools
import itertools
import math
from types import SimpleNamespace

import jax
import numpy as np
import optax
import pytest

from bert_jax.checkpoint_files import load_params
from bert_jax.checkpoints import Checkpoints
from bert_jax.errors import UserError
from bert_jax.training.assembly import assemble_pretrainer
from bert_jax.training.sharding import (
    create_mesh,
    parse_mesh,
    path_name,
    place,
    put_batch,
)  # fmt: skip
from tests.training.examples import MESHES, UNEVEN_VOCABULARY, batches, tiny_config


def mesh_of(axes):
    return create_mesh(axes, jax.devices()[: math.prod(axes.values())])


def pretrainer(axes, optimizer, tied=True, rate=0.0, **choices):
    config = tiny_config(
        vocab_size=UNEVEN_VOCABULARY, tie_word_embeddings=tied,
        hidden_dropout_prob=rate, attention_probs_dropout_prob=rate,
    )  # fmt: skip
    choices = {"seed": 0, "batch_size": 8} | choices
    return assemble_pretrainer(config, mesh_of(axes), optimizer, lambda count: 1.0, **choices)


@functools.cache
def one_step(axes, tied, packed, rate=0.0):
    """Metrics and gradients of the first step; SGD at rate 1 makes the update the gradient."""
    run = pretrainer(dict(axes), optax.sgd(1.0), tied, rate)
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
        assert not np.any(rows[UNEVEN_VOCABULARY:])


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


# All four kinds on every mesh hold too, but each of them takes seconds to compile: in turn.
KINDS = [(True, 1), (False, 4), (True, 4), (False, 1)]
CASES = [(axes, *KINDS[i % 4], 0.0) for i, axes in enumerate(MESHES)] + [
    ({"data": 2, "fsdp": 2, "tensor": 2}, *kind, 0.1) for kind in KINDS
]
# Simulated slices: dcn is one more data axis.
CASES += [
    ({"dcn": 2, "data": 2, "fsdp": 2, "tensor": 1}, True, 4, 0.1),
    ({"dcn": 2, "data": 1, "fsdp": 2, "tensor": 2}, True, 1, 0.0),
]


@pytest.mark.parametrize(("axes", "tied", "packed", "rate"), CASES, ids=str)
def test_losses_and_gradients_equal_those_of_one_device(axes, tied, packed, rate):
    expected = one_step((), tied, packed, rate)
    assert_close(one_step(tuple(axes.items()), tied, packed, rate), expected)


def test_memory_of_a_device_falls_as_the_mesh_splits_the_state():
    """Read from the compiled step: its arguments are the state and the batch, for one device."""

    def argument_bytes(axes):
        run = pretrainer(axes, optax.adam(1.0))
        batch = put_batch(batches()[0], run.mesh)
        compiled = run.train_step.lower(run.abstract_state, batch).compile()
        ways = axes.get("data", 1) * axes.get("fsdp", 1)
        rows = sum(array.nbytes for array in jax.tree.leaves(batch)) // ways
        return compiled.memory_analysis().argument_size_in_bytes - rows

    whole = argument_bytes({"data": 8})
    by_fsdp, by_tensor, by_both = (
        argument_bytes(axes) for axes in ({"fsdp": 8}, {"tensor": 4}, {"fsdp": 2, "tensor": 4})
    )
    # Biases, LayerNorms and, over tensor alone, position table and head kernels stay whole.
    assert by_fsdp < whole / 4
    assert by_tensor < whole / 2
    assert by_both < by_tensor


def test_a_checkpoint_of_one_mesh_restores_on_any_other(tmp_path):
    """With the vocabulary's own rows on disk, whatever was padded."""
    meshes = [{"tensor": 8}, {"fsdp": 4}, {"data": 2, "fsdp": 2, "tensor": 2}, {"data": 1}]
    runs = [pretrainer(axes, optax.adam(1.0)) for axes in meshes]
    state = runs[0].initial_state()
    for number, (run, after) in enumerate(itertools.pairwise([*runs, runs[0]])):
        store = Checkpoints(tmp_path / str(number), keep=1, config={}, vocabulary={})
        store.save(run.cut(state))
        state = after.pad(store.restore(after.saved_state))
        store.close()
        params = load_params(tmp_path / str(number) / "0")
        assert params["bert"]["embeddings"]["token"]["table"].shape == (UNEVEN_VOCABULARY, 16)
        assert params["mlm"]["bias"].shape == (UNEVEN_VOCABULARY,)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), runs[0].initial_state())


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
        "dcn": 1, "data": len(jax.devices()), "fsdp": 1, "tensor": 1,
    }  # fmt: skip
    for text in ("data=4", "data:x", "data:4;fsdp:2"):
        with pytest.raises(UserError, match="expected axis:size pairs"):
            parse_mesh(text)
    with pytest.raises(UserError, match="got mesh axis 'model'"):
        create_mesh({"model": 2})
    with pytest.raises(UserError, match="product is the number of devices, 8"):
        create_mesh({"data": 3}, jax.devices()[:8])
    slices = [SimpleNamespace(slice_index=number // 4) for number in range(8)]
    with pytest.raises(UserError, match="got mesh dcn:4; expected dcn:2, the number of slices"):
        create_mesh({"dcn": 4, "data": 2}, slices)
