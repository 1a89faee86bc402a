import dataclasses
import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bert_jax.errors import UserError
from bert_jax.kernels import flash_attention, fused_attention, splash_attention
from bert_jax.kernels.attention import AttentionMask, within_instances
from bert_jax.kernels.compute import Compute
from bert_jax.kernels.flash_attention import GPU, TPU
from bert_jax.kernels.products import PLAIN
from bert_jax.kernels.rematerialisation import rematerialisation
from bert_jax.training.assembly import assemble_pretrainer
from bert_jax.training.attention_choice import with_attention
from bert_jax.training.sharding import create_mesh, over_rows_and_heads, path_name, put_batch
from tests.training.examples import batches, tiny_config

ONE = create_mesh({"data": 1}, jax.devices()[:1])
# What a choice reads of a mesh, of devices this machine lacks.
NVIDIA, AMD = (
    SimpleNamespace(devices=np.array([SimpleNamespace(device_kind=kind)]), shape={"tensor": 1})
    for kind in ("NVIDIA H100 80GB HBM3", "AMD Instinct MI300X")
)
MESHES = {"cpu": ONE, "tpu": ONE, "gpu": NVIDIA, "amd gpu": AMD}


@functools.cache
def step_of_einsum(rate):
    return one_step({"data": 1}, None, rate=rate)


def one_step(axes, attend, remat="none", rate=0.0):
    """Metrics and gradients of a step on packed rows; attend None is einsum."""
    config = tiny_config(hidden_dropout_prob=0.1, attention_probs_dropout_prob=rate)
    mesh = create_mesh(axes, jax.devices()[: int(np.prod(list(axes.values())))])
    products = PLAIN
    if attend:
        place = over_rows_and_heads(mesh, config.num_attention_heads)
        products = dataclasses.replace(PLAIN, attend=functools.partial(attend, place=place))
    run = assemble_pretrainer(
        config, mesh, optax.sgd(1.0), lambda count: 1.0,
        seed=0, batch_size=8,
        compute=Compute(
            products=products, scan_layers=True, rematerialise=rematerialisation(remat)
        ),
    )  # fmt: skip
    state = run.initial_state()
    before = jax.device_get(run.cut(state).params)
    batch = put_batch(batches(max_instances=4)[0], mesh)
    state, metrics = run.train_step(state, batch)
    after = jax.device_get(run.cut(state).params)
    return jax.device_get(metrics), jax.tree.map(np.subtract, before, after)


@pytest.mark.parametrize(
    ("axes", "remat"),
    [({"data": 2, "fsdp": 2, "tensor": 2}, "none"), ({"tensor": 8}, "layers")],
    ids=str,
)
@pytest.mark.parametrize("kernel", ["splash", "flash"])
def test_a_kernel_on_a_mesh_gives_the_gradients_of_einsum_on_one_device(kernel, axes, remat):
    """Also where eight ways of tensor cannot split four heads; flash drops what einsum drops."""
    attend, rate = {
        "splash": (functools.partial(splash_attention.attend, interpret=True), 0.0),
        "flash": (functools.partial(flash_attention.attend, target=GPU.interpreted()), 0.1),
    }[kernel]
    metrics, gradients = one_step(axes, attend, remat, rate)
    expected, expected_gradients = step_of_einsum(rate)
    np.testing.assert_allclose(metrics["loss"], expected["loss"], rtol=1e-5)
    rounding = 1e-7 * expected["gradient_norm"]
    for (path, g), e in zip(
        jax.tree_util.tree_leaves_with_path(gradients),
        jax.tree.leaves(expected_gradients),
        strict=True,
    ):
        atol = 1e-5 * np.abs(e).max() + rounding
        np.testing.assert_allclose(g, e, rtol=1e-5, atol=atol, err_msg=path_name(path))


class Recorder:
    """Kernels and einsum that say that they were called, and compute nothing."""

    def __init__(self, monkeypatch):
        self.called = []
        kernels = {
            "flash": flash_attention, "fused": fused_attention, "splash": splash_attention
        }  # fmt: skip
        for name, module in kernels.items():
            monkeypatch.setattr(module, "attend", self.attend(name))
        self.products = dataclasses.replace(PLAIN, attend=self.attend("einsum"))

    def attend(self, name):
        def attend(
            query, key, value, allowed, rate, seed, implementation="", target=None, place=None
        ):
            del key, value, allowed, rate, seed, place
            device = {TPU: "tpu", GPU: "gpu", None: ""}[target]
            self.called.append(f"{name} {implementation}{device}".strip())
            return query

        return attend


SEED = jnp.zeros(2, jnp.uint32)
ANY = AttentionMask(jnp.ones((1, 1, 4, 4), bool), None)


@pytest.mark.parametrize(
    ("backend", "length", "dtype", "allowed", "seed", "expected"),
    [
        ("cpu", 512, "bfloat16", None, None, "einsum"),
        ("tpu", 511, "bfloat16", None, None, "einsum"),
        ("tpu", 512, "bfloat16", None, None, "splash"),
        ("tpu", 512, "float32", within_instances(jnp.ones((1, 4), bool)), None, "splash"),
        ("tpu", 512, "bfloat16", ANY, None, "einsum"),
        ("tpu", 511, "bfloat16", None, SEED, "einsum"),
        ("tpu", 512, "bfloat16", None, SEED, "einsum"),
        ("tpu", 512, "bfloat16", ANY, SEED, "einsum"),
        ("gpu", 128, "bfloat16", ANY, None, "fused cudnn"),
        ("gpu", 127, "bfloat16", ANY, None, "einsum"),
        ("gpu", 512, "float32", None, None, "einsum"),
        ("amd gpu", 128, "bfloat16", ANY, None, "einsum"),
        ("gpu", 128, "bfloat16", within_instances(jnp.ones((1, 4), int)), SEED, "einsum"),
        ("gpu", 512, "bfloat16", ANY, SEED, "einsum"),
        ("gpu", 512, "float32", None, SEED, "einsum"),
        ("amd gpu", 512, "bfloat16", None, SEED, "einsum"),
        ("cpu", 512, "bfloat16", None, SEED, "einsum"),
    ],
)
def test_auto_takes_a_kernel_where_it_pays(
    monkeypatch, backend, length, dtype, allowed, seed, expected
):
    recorder = Recorder(monkeypatch)
    mesh = MESHES[backend]
    backend = backend.removeprefix("amd ")
    products = with_attention(recorder.products, "auto", tiny_config(), mesh, backend)
    states = jnp.zeros((1, length, 2, 8), dtype)
    products.attend(states, states, states, allowed, 0.1, seed)
    assert recorder.called == [expected]


@pytest.mark.parametrize(
    ("choice", "backend", "expected"),
    [
        ("einsum", "gpu", "einsum"),
        ("fused", "tpu", "fused xla"),
        ("fused", "gpu", "fused cudnn"),
        ("fused", "amd gpu", "fused xla"),
        ("splash", "tpu", "splash"),
        ("flash", "tpu", "flash tpu"),
        ("flash", "gpu", "flash gpu"),
    ],
)
def test_a_named_attention_is_the_one_that_computes(monkeypatch, choice, backend, expected):
    recorder = Recorder(monkeypatch)
    config = tiny_config(attention_probs_dropout_prob=0.0)
    mesh = MESHES[backend]
    products = with_attention(recorder.products, choice, config, mesh, backend.removeprefix("amd "))
    states = jnp.zeros((1, 8, 2, 8))
    products.attend(states, states, states, None, 0.0, None)
    assert recorder.called == [expected]


@pytest.mark.parametrize(
    ("choice", "rate", "backend", "said"),
    [
        (
            "splash",
            0.1,
            "tpu",
            "attention=splash, which drops no .*prob=0.1; expected attention=auto",
        ),
        (
            "fused",
            0.1,
            "gpu",
            "attention=fused, which drops no .*prob=0.1; expected attention=auto",
        ),
        ("splash", 0.0, "cpu", "got attention=splash on a cpu; expected a TPU"),
        (
            "flash",
            0.1,
            "cpu",
            "got attention=flash on cpu devices; expected an NVIDIA GPU or a TPU",
        ),
        ("flash", 0.1, "amd gpu", "got attention=flash on AMD Instinct MI300X devices; expected"),
        ("ring", 0.0, "tpu", "got attention='ring'; expected one of auto, einsum, flash, fused"),
    ],
)
def test_a_kernel_that_cannot_be_is_said_before_anything_is_compiled(choice, rate, backend, said):
    config, mesh = tiny_config(attention_probs_dropout_prob=rate), MESHES[backend]
    with pytest.raises(UserError, match=said):
        with_attention(PLAIN, choice, config, mesh, backend.removeprefix("amd "))
