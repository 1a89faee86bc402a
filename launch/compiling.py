"""Compile the training step of a real run for machines that are not there."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import re
import time
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding

from bert_jax.config import BertConfig
from bert_jax.data.rows import empty_batch
from bert_jax.errors import UserError
from bert_jax.kernels.compute import Compute, products_for
from bert_jax.kernels.rematerialisation import REMATERIALISATIONS, rematerialisation
from bert_jax.training.assembly import assemble_pretrainer
from bert_jax.training.attention_choice import with_attention
from bert_jax.training.optimizers import create_optimizer
from bert_jax.training.schedules import warmup_polynomial
from bert_jax.training.sharding import BATCH, create_mesh

from .gpu_targets import gpu_target
from .machines import GIB, GPUS_A_HOST, Topology


@dataclass(frozen=True)
class Plan:
    """What is to be trained and how it is cut; the fields mean what pretrain's flags mean."""

    config: BertConfig
    mesh: dict[str, int]
    batch_size: int
    length: int
    predictions: int
    instances: int = 1
    dtype: str = "bfloat16"
    optimizer: str = "adamw"
    accumulate: int = 1
    scan_layers: bool = True
    remat: str = "none"
    attention: str = "auto"


@dataclass(frozen=True)
class Compiled:
    """What the compiler said.

    Attributes:
        fits: whether a device can hold the step.
        memory: bytes a device needs: state, batch and everything between.
        memory_of: bytes it has.
        arguments: bytes of state and batch on a device.
        hlo: the program, as XLA prints it; empty where memory lacked for it.
        own: whether the device's own compiler made it, so that its kernels are those that run.
        mesh: sizes of dcn, data, fsdp, tensor.
        seconds: the compiler took.
        compiler: whose figures these are.
    """

    fits: bool
    memory: float
    memory_of: float
    arguments: float
    hlo: str
    own: bool
    mesh: dict[str, int]
    parameters: int
    seconds: float
    compiler: str


COMPILERS = {"tpu": "libtpu", "gpu": "XLA for CUDA", "cpu": "XLA for CPU, partitioned"}


def compile_plan(topology: Topology, plan: Plan) -> Compiled:
    """Compile the step that `experiments.pretrain` would run; memory it lacks is an answer.

    A TPU's program is compiled by its own compiler, libtpu, and a GPU's by XLA's for GPUs, where
    that is installed. It is 5 GB: without it a GPU's program is partitioned for as many simulated
    devices and compiled for CPU. The collectives are then those the partitioner chose for any
    backend, the memory is an estimate, and nothing is known of the time.

    Raises:
        UserError: no compiler for the topology, or a plan that does not fit the mesh.
    """
    mesh, platform = _mesh(topology, plan.mesh), topology.device.platform
    compiler = mesh.devices.flat[0].platform
    began = time.perf_counter()
    rate = warmup_polynomial(1e-4, 1000, 100)
    run = assemble_pretrainer(
        plan.config,
        mesh,
        create_optimizer(plan.optimizer, rate, 0.01, 1.0),
        rate,
        seed=0,
        batch_size=plan.batch_size,
        compute=Compute(
            dtype=plan.dtype,
            scan_layers=plan.scan_layers,
            rematerialise=rematerialisation(plan.remat),
            products=with_attention(
                products_for(platform), plan.attention, plan.config, mesh, platform
            ),
        ),
        accumulate=plan.accumulate,
        row_lazy=plan.optimizer == "row_lazy_adamw",
    )
    parameters = sum(leaf.size for leaf in jax.tree.leaves(run.saved_state.params))
    arguments = _bytes_a_device((run.abstract_state, _batch(plan, mesh)))
    said: dict[str, Any] = {
        "memory_of": topology.device.memory,
        "arguments": arguments,
        "mesh": dict(mesh.shape),
        "parameters": parameters,
        "own": compiler == platform,
        "compiler": COMPILERS[compiler],
    }
    try:
        step: Any = run.train_step  # from jax.jit, which its type does not say
        compiled = step.lower(run.abstract_state, _batch(plan, mesh)).compile()
    except jax.errors.JaxRuntimeError as error:
        lacking = out_of_memory(str(error))
        if lacking is None:
            raise
        used, memory_of = lacking
        return Compiled(
            fits=False,
            memory=used,
            hlo="",
            seconds=time.perf_counter() - began,
            **(said | {"memory_of": memory_of}),
        )
    analysis = compiled.memory_analysis()
    memory = (
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        + analysis.temp_size_in_bytes
        - analysis.alias_size_in_bytes
    )
    return Compiled(
        fits=memory <= topology.device.memory,
        memory=memory,
        hlo=compiled.as_text(),
        seconds=time.perf_counter() - began,
        **said,
    )


def what_would_fit(topology: Topology, plan: Plan) -> tuple[Plan, Compiled] | None:
    """The first plan that fits, and what it compiles to.

    Tries rematerialisation first, the cheaper kind before the other, then microbatches, then
    sharded parameters. All compute the same loss. None: nothing helps, and the model wants more
    devices.
    """
    ways = create_mesh_sizes(topology, plan.mesh)
    sharded = ways | {"data": 1, "fsdp": ways["data"] * ways["fsdp"]}
    names = list(REMATERIALISATIONS)
    for mesh in [plan.mesh] + ([sharded] if ways["data"] > 1 else []):
        accumulate = plan.accumulate
        while plan.batch_size % (accumulate * math.prod(ways.values()) // ways["tensor"]) == 0:
            for remat in names[max(1, names.index(plan.remat)) :]:
                tried = replace(plan, mesh=mesh, accumulate=accumulate, remat=remat)
                if tried != plan:
                    compiled = compile_plan(topology, tried)
                    if compiled.fits:
                        return tried, compiled
            accumulate *= 2
    return None


def create_mesh_sizes(topology: Topology, axes: dict[str, int]) -> dict[str, int]:
    """The sizes of dcn, data, fsdp and tensor, with -1 filled in."""
    return dict(_mesh(topology, axes).shape)


def _mesh(topology: Topology, axes: dict[str, int]) -> Mesh:
    devices = _tpus(topology) if topology.device.platform == "tpu" else _gpus(topology)
    return create_mesh(axes, devices)


def _tpus(topology: Topology) -> list[Any]:
    try:
        import libtpu  # noqa: F401
    except ImportError:
        raise UserError(
            f"got --topology={topology.kind}:…, but no compiler for TPUs is installed; expected"
            " libtpu: python3 -m pip install -c constraints.txt -e '.[tpu]'"
        ) from None
    # libtpu looks for TPUs of this machine when it is loaded, and lets one process alone load it.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "none")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    name = f"{topology.kind}:{'x'.join(map(str, topology.shape))}"
    options: dict[str, Any] = {}
    if topology.kind == "v4":
        options["chip_config_name"] = "megacore"  # one device a chip
    if topology.chips == 1:
        options["chips_per_host_bounds"] = (1, 1, 1)
    if topology.slices > 1:
        options["num_slices"] = topology.slices
    try:
        return list(topologies.get_topology_desc(name, "tpu", **options).devices)
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).partition(": ")[2] or str(error)
        raise UserError(
            f"got --topology={name}, which libtpu rejects ({reason}); expected a shape that exists"
        ) from None


def _gpus(topology: Topology) -> list[Any]:
    if importlib.util.find_spec("jax_cuda12_plugin") is None:
        return _simulated(topology.count)
    hosts = max(topology.count // GPUS_A_HOST, 1)
    target = gpu_target(topology.kind)
    shape = f"1x{hosts}x{topology.count // hosts}"
    found = topologies.get_topology_desc(
        topology.kind, "cuda", target_config=target, topology=shape
    )
    return list(found.devices)


def _simulated(count: int) -> list[Any]:
    with contextlib.suppress(RuntimeError):  # devices were made before: enough of them will do
        jax.config.update("jax_num_cpu_devices", count)
    devices = jax.devices("cpu")
    if len(devices) < count:
        raise UserError(
            f"got {len(devices)} simulated devices; expected {count}: leave JAX_NUM_CPU_DEVICES"
            " unset"
        )
    return devices[:count]


def _batch(plan: Plan, mesh: Mesh) -> dict[str, jax.ShapeDtypeStruct]:
    row = empty_batch(1, plan.length, plan.predictions, plan.instances, 0)
    return {
        name: jax.ShapeDtypeStruct(
            (plan.batch_size, *array.shape[1:]), array.dtype, sharding=NamedSharding(mesh, BATCH)
        )
        for name, array in row.items()
    }


def _bytes_a_device(tree: Any) -> float:
    leaves = jax.tree.leaves(tree)
    return float(
        sum(
            np.prod(leaf.sharding.shard_shape(leaf.shape)) * np.dtype(leaf.dtype).itemsize
            for leaf in leaves
        )
    )


def out_of_memory(message: str) -> tuple[float, float] | None:
    """Bytes that libtpu found to be needed, at least, and those there are; None: another error."""
    size = r"([\d.]+)([KMGT])"
    for words in (
        rf"\({size}\) exceeds available HBM \({size}\)",
        rf"Used {size} of {size} hbm",
    ):
        said = re.search(words, message)
        if said and "RESOURCE_EXHAUSTED" in message:
            return _bytes(said[1], said[2]), _bytes(said[3], said[4])
    return None


def _bytes(number: str, unit: str) -> float:
    return float(number) * GIB / 1024 ** (3 - "_KMGT".index(unit))
