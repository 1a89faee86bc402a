"""Machines by their datasheets: what a device can compute, hold, read and send.

A topology is a kind and a shape: `v5e:4x4` is 16 chips of TPU v5e, `h100:64` is 64 GPUs in hosts
of eight.

Sources. TPU: https://docs.cloud.google.com/tpu/docs/v5e and its neighbours v4, v5p and v6e, whose
interconnect is given both ways: half of it is sent. GPU: NVIDIA's datasheets of A100 80GB
SXM and H100 SXM (dense bf16; NVLink is half the published figure, which counts both ways) and the
network of DGX A100 (200 Gb/s a GPU) and DGX H100 (400 Gb/s a GPU).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from bert_jax.errors import UserError

GIB = 2**30
GPUS_A_HOST = 8


@dataclass(frozen=True)
class Device:
    """One chip.

    Attributes:
        platform: "tpu" or "gpu".
        flops: bf16 operations a second at most.
        memory: bytes it holds.
        memory_bandwidth: bytes a second to and from that memory.
        interconnect: bytes a second it can send to its neighbours, all links together.
        between_hosts: the same where hosts are joined by a network, for one whole host; None:
            the torus goes on.
        dimensions: of the torus; 0 for GPUs, which are only counted.
    """

    platform: str
    flops: float
    memory: float
    memory_bandwidth: float
    interconnect: float
    between_hosts: float | None = None
    dimensions: int = 0


DEVICES: dict[str, Device] = {
    "v4": Device("tpu", 275e12, 32 * GIB, 1.228e12, 6 * 50e9, dimensions=3),
    "v5e": Device("tpu", 197e12, 16 * GIB, 0.819e12, 4 * 50e9, dimensions=2),
    "v5p": Device("tpu", 459e12, 95 * GIB, 2.765e12, 6 * 100e9, dimensions=3),
    "v6e": Device("tpu", 918e12, 32 * GIB, 1.638e12, 4 * 100e9, dimensions=2),
    "a100": Device("gpu", 312e12, 80e9, 2.04e12, 300e9, GPUS_A_HOST * 25e9),
    "h100": Device("gpu", 989e12, 80e9, 3.35e12, 450e9, GPUS_A_HOST * 50e9),
}


@dataclass(frozen=True)
class Topology:
    """So many devices of a kind, joined in a shape."""

    kind: str
    shape: tuple[int, ...]

    @property
    def device(self) -> Device:
        """The datasheet of one device."""
        return DEVICES[self.kind]

    @property
    def count(self) -> int:
        """How many devices."""
        return math.prod(self.shape)

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


def parse_topology(text: str) -> Topology:
    """`v5e:4x4` → Topology("v5e", (4, 4)).

    Raises:
        UserError: no such machine, or a shape it cannot have.
    """
    match = re.fullmatch(r"(\w+):([1-9]\d*(?:x[1-9]\d*)*)", text)
    if not match or match[1] not in DEVICES:
        raise UserError(
            f"got --topology={text}; expected KIND:SHAPE, as in v5e:4x4, v5p:2x2x1 or h100:8, with"
            f" KIND one of {', '.join(DEVICES)}"
        )
    topology = Topology(match[1], tuple(int(size) for size in match[2].split("x")))
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
