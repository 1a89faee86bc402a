"""What devices send each other in a step, read from the program that XLA compiled.

    %all-reduce.5 = (f32[768]{0}, f32[768]{0}) all-reduce(…), replica_groups=[1,8]<=[8], …

A collective is one instruction, or two between which the device goes on computing:
`all-reduce-start` and `all-reduce-done`, or a computation of its own that `async-start` begins, or
`call-start` on another core of a TPU.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .hlo import Instruction, Program

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")


@dataclass(frozen=True)
class Traffic:
    """Of one kind of collective, in one step.

    Attributes:
        count: how often it runs.
        payload: bytes it works on: what is reduced, or what is gathered.
        sent: bytes each device sends, by the best known way (Thakur et al. 2005): of n devices,
            2 (n-1)/n of the payload for an all-reduce, (n-1)/n for the others, all of it for a
            permutation.
    """

    count: int
    payload: float
    sent: float

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.count + other.count, self.payload + other.payload, self.sent + other.sent
        )


def kind_of(instruction: Instruction) -> str | None:
    """The kind of collective an instruction is, or begins; None: it is none."""
    kind = instruction.opcode.removesuffix("-start")
    return kind if kind in KINDS else None


def traffic_of(collective: Instruction, devices: int) -> Traffic:
    """What it sends when it runs once."""
    kind = kind_of(collective)
    assert kind is not None
    group = _group_size(collective, devices)
    size = sum(array.bytes for array in collective.arrays)
    started = collective.opcode.endswith("-start")
    payload = _payload(kind, size, group, started, collective.shape.startswith("(("))
    return Traffic(1, payload, payload * _share_sent(kind, group))


def total_traffic(
    collectives: Iterable[tuple[Instruction, int]], devices: int
) -> dict[str, Traffic]:
    """The traffic of each kind, of collectives and how often each runs."""
    found: dict[str, Traffic] = {}
    for collective, times in collectives:
        kind, once = kind_of(collective), traffic_of(collective, devices)
        assert kind is not None
        all_of_them = Traffic(times, times * once.payload, times * once.sent)
        found[kind] = found.get(kind, Traffic(0, 0.0, 0.0)) + all_of_them
    return dict(sorted(found.items()))


def total_sent(traffic: Mapping[str, Traffic]) -> float:
    """Bytes each device sends in a step."""
    return sum(each.sent for each in traffic.values())


def begun_by(instruction: Instruction, program: Program) -> Instruction | None:
    """The collective that an instruction is or begins; None: it has to do with none."""
    if kind_of(instruction):
        return instruction
    inside = program.inside(instruction)
    if inside is None or instruction.opcode not in ("async-start", "call-start", "fusion"):
        return None
    found = (begun_by(each, program) for each in inside)
    return next((collective for collective in found if collective is not None), None)


def _share_sent(kind: str, group: int) -> float:
    if kind == "collective-permute":
        return 1.0
    return (2.0 if kind == "all-reduce" else 1.0) * (group - 1) / group


def _payload(kind: str, result: float, group: int, started: bool, both: bool) -> float:
    if kind in ("all-reduce", "all-to-all") and both:  # ((operands), results)
        return result / 2
    if kind == "all-gather" and started:  # its result is the operand beside the gathered array
        return result * group / (group + 1)
    if kind == "collective-permute" and started:
        return result / 2
    return result * group if kind == "reduce-scatter" else result


def _group_size(collective: Instruction, devices: int) -> int:
    line = collective.attributes
    listed = re.search(r"replica_groups=\{\{([\d,]*)\}", line)
    if listed:
        return len(listed[1].split(","))
    iota = re.search(r"replica_groups=\[(\d+),(\d+)\]<=", line)
    if iota:
        return int(iota[2])
    # mesh['data'=2,'fsdp'=4] {'fsdp'}: the devices along the named axes
    named = re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", line)
    if named:
        sizes = dict(pair.split("=") for pair in named[1].split(","))
        return math.prod(int(sizes[axis]) for axis in named[2].split(",") if axis in sizes)
    return devices
