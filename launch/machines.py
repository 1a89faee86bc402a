"""Machines by their datasheets: what a device can compute, hold, read and send.

A topology is a kind and a shape: `v5e:4x4` is 16 chips of TPU v5e, `h100:64` is 64 GPUs in hosts
of eight.

Sources. TPU: https://docs.cloud.google.com/tpu/docs/v5e and its neighbours v4, v5p, v6e and tpu7x,
whose interconnect is given both ways: half of it is sent. GPU: NVIDIA's datasheets of A100 80GB
SXM, H100 SXM, H200 SXM and HGX B200 (dense bf16; NVLink is half the published figure, which counts
both ways) and the network of DGX A100 (200 Gb/s a GPU), DGX H100, H200 and B200 (400 Gb/s a GPU).

What kernels reach of that is from others' measurements, and was fixed before any step of ours was
held against it:
matrices: the best bf16 product found on an A100 and a H100, 271 and 794 TFLOP/s (S. Bekman, Machine
Learning Engineering, "Maximum Achievable Matmul FLOPS"; H200 and B200 taken as H100);
memory: a copy on a H100 PCIe, 1.86 of 2.04 TB/s (news.ycombinator.com/item?id=45236545);
launches: 1 microsecond a kernel, 5 a collective (XLA's own model of GPUs,
xla/service/gpu/model/gpu_performance_model_base.h);
wires: an all-reduce in a node of eight H100, 370 of 450 GB/s (How to Scale Your Model, on GPUs).
Of TPUs no such figures were at hand: what is said of them is a bound.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from bert_jax.errors import UserError

GIB = 2**30
GPUS_A_HOST = 8


@dataclass(frozen=True)
class Reached:
    """What kernels reach of a datasheet, as shares of it, and what each costs besides.

    Attributes:
        matrices: of the operations a second.
        memory: of the bytes a second.
        wires: of what can be sent a second.
        launch: seconds from one kernel to the next.
        collective: seconds until a collective begins.
    """

    matrices: float = 1.0
    memory: float = 1.0
    wires: float = 1.0
    launch: float = 0.0
    collective: float = 0.0


@dataclass(frozen=True)
class Device:
    """What jax calls a device: one chip, or half of one (TPU7x).

    Attributes:
        platform: "tpu" or "gpu".
        flops: bf16 operations a second at most, of matrix products.
        instructions: a second at most, of one fp32 number each: a GPU's fp32 units times their
            clock; a TPU's four slots of 8 x 128 lanes times the clock, which is the peak of
            products over the matrix units' size.
        memory: bytes it holds.
        memory_bandwidth: bytes a second to and from that memory.
        interconnect: bytes a second it can send to its neighbours, all links together.
        between_hosts: the same where hosts are joined by a network, for one whole host; None:
            the torus goes on.
        dimensions: of the torus; 0 for GPUs, which are only counted.
        on_a_chip: how many of them share a chip.
    """

    platform: str
    flops: float
    instructions: float
    memory: float
    memory_bandwidth: float
    interconnect: float
    between_hosts: float | None = None
    dimensions: int = 0
    on_a_chip: int = 1
    reached: Reached = Reached()


_A100 = Reached(0.869, 0.91, 0.82, 1e-6, 5e-6)
_H100 = Reached(0.803, 0.91, 0.82, 1e-6, 5e-6)

DEVICES: dict[str, Device] = {
    "v4": Device("tpu", 275e12, 8.6e12, 32 * GIB, 1.228e12, 6 * 50e9, dimensions=3),
    "v5e": Device("tpu", 197e12, 6.1e12, 16 * GIB, 0.819e12, 4 * 50e9, dimensions=2),
    "v5p": Device("tpu", 459e12, 14.3e12, 95 * GIB, 2.765e12, 6 * 100e9, dimensions=3),
    "v6e": Device("tpu", 918e12, 7.2e12, 32 * GIB, 1.638e12, 4 * 100e9, dimensions=2),
    "tpu7x": Device(  # a chip: 2,307 TFLOP/s, 192 GiB, 7,380 GB/s
        "tpu", 2307e12 / 2, 9.0e12, 96 * GIB, 3.69e12, 6 * 100e9 / 2, dimensions=3, on_a_chip=2
    ),
    "a100": Device("gpu", 312e12, 9.75e12, 80e9, 2.04e12, 300e9, GPUS_A_HOST * 25e9, reached=_A100),
    "h100": Device("gpu", 989e12, 33.5e12, 80e9, 3.35e12, 450e9, GPUS_A_HOST * 50e9, reached=_H100),
    "h200": Device("gpu", 989e12, 33.5e12, 141e9, 4.8e12, 450e9, GPUS_A_HOST * 50e9, reached=_H100),
    "b200": Device(
        "gpu", 2250e12, 37.5e12, 180e9, 7.7e12, 900e9, GPUS_A_HOST * 50e9, reached=_H100
    ),
}


@dataclass(frozen=True)
class Topology:
    """So many devices of a kind, joined in a shape; or several such slices, joined by a network."""

    kind: str
    shape: tuple[int, ...]
    slices: int = 1

    @property
    def device(self) -> Device:
        """The datasheet of one device."""
        return DEVICES[self.kind]

    @property
    def chips(self) -> int:
        """How many chips a slice has."""
        return math.prod(self.shape)

    @property
    def count(self) -> int:
        """How many devices."""
        return self.slices * self.chips * self.device.on_a_chip

    @property
    def interconnect(self) -> float:
        """Bytes a second that a device sends at most in a collective over all of them.

        Over several hosts of GPUs a collective is at best done in two stages, so that every byte
        a host receives passes its network once: the network of a host serves one device's traffic.
        """
        device = self.device
        if device.between_hosts is None or self.count <= GPUS_A_HOST:
            return device.interconnect
        return min(device.interconnect, device.between_hosts)


def parse_topology(text: str, slices: int = 1) -> Topology:
    """`v5e:4x4` → Topology("v5e", (4, 4)), so many slices of it.

    Raises:
        UserError: no such machine, or a shape it cannot have.
    """
    match = re.fullmatch(r"(\w+):([1-9]\d*(?:x[1-9]\d*)*)", text)
    if not match or match[1] not in DEVICES:
        raise UserError(
            f"got --topology={text}; expected KIND:SHAPE, as in v5e:4x4, v5p:2x2x1 or h100:8, with"
            f" KIND one of {', '.join(DEVICES)}"
        )
    topology = Topology(match[1], tuple(int(size) for size in match[2].split("x")), slices)
    if slices > 1 and topology.device.platform != "tpu":
        raise UserError(f"got --slices={slices} of {text}; expected it for TPUs, or --mesh=dcn:…")
    wanted = topology.device.dimensions or 1
    if len(topology.shape) != wanted:
        example = {1: "8", 2: "2x4", 3: "2x2x1"}[wanted]
        raise UserError(
            f"got --topology={text}; expected {wanted} number{'s' if wanted > 1 else ''} for"
            f" {topology.kind}, as in {topology.kind}:{example}"
        )
    on_its_hosts = topology.count <= GPUS_A_HOST or topology.count % GPUS_A_HOST == 0
    if not topology.device.dimensions and not on_its_hosts:
        raise UserError(
            f"got --topology={text}; expected at most {GPUS_A_HOST} GPUs, or a multiple of it:"
            f" hosts have {GPUS_A_HOST}"
        )
    return topology
