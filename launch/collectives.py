"""What devices send each other in a step, read from the program that XLA compiled.

    %all-reduce.5 = (f32[768]{0}, f32[768]{0}) all-reduce(…), replica_groups=[1,8]<=[8], …
    %while.2 = (…) while(…), body=%body.1, backend_config={"known_trip_count":{"n":"12"}…}

A loop's body stands in the text once; what it sends is taken as often as the loop turns. Where the
compiler does not say how often (that for TPUs), its condition does: `compare(i, 12), direction=LT`.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")

_BITS = {"pred": 8, "s4": 4, "u4": 4}  # else the digits of the name: f32, bf16, u8, f8e4m3fn
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_COLLECTIVE = re.compile(rf" = (.+?) ({'|'.join(KINDS)})(-start)?\(")
_ARRAY = re.compile(r"\b(pred|[sufb]f?\d+\w*)\[([\d,]*)\]")
_CALLED = re.compile(
    r"(body|condition|calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)"
)
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TURNS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


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


def read_collectives(hlo: str, devices: int) -> dict[str, Traffic]:
    """The traffic of each kind of collective in a compiled program.

    Args:
        hlo: `compiled.as_text()`.
        devices: on how many it runs.
    """
    computations, entry = _computations(hlo)
    times = _times_run(computations, entry)
    counts: Counter[str] = Counter()
    payloads: defaultdict[str, float] = defaultdict(float)
    sent: defaultdict[str, float] = defaultdict(float)
    for name, lines in computations.items():
        for line in lines:
            match = _COLLECTIVE.search(line)
            if not match or not times[name]:
                continue
            shapes, kind, started = match.groups()
            group = _group_size(line, devices)
            size = _payload(kind, _bytes(shapes), group, bool(started), shapes.startswith("(("))
            payload = size * times[name]
            counts[kind] += times[name]
            payloads[kind] += payload
            sent[kind] += payload * _share_sent(kind, group)
    return {kind: Traffic(counts[kind], payloads[kind], sent[kind]) for kind in sorted(counts)}


def total_sent(traffic: Mapping[str, Traffic]) -> float:
    """Bytes each device sends in a step."""
    return sum(each.sent for each in traffic.values())


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


def _computations(hlo: str) -> tuple[dict[str, list[str]], str]:
    found: dict[str, list[str]] = {}
    entry = current = ""
    for line in hlo.splitlines():
        match = _COMPUTATION.match(line)
        if match and not line.startswith("HloModule"):
            current = match[2]
            found[current] = []
            entry = current if match[1] else entry
        elif current:
            found[current].append(line)
    return found, entry


def _times_run(computations: Mapping[str, list[str]], entry: str) -> Counter[str]:
    times: Counter[str] = Counter()

    def visit(name: str, factor: int) -> None:
        times[name] += factor
        for line in computations.get(name, ()):
            inner = factor * (_turns(line, computations) if " while(" in line else 1)
            for role, called in _CALLED.findall(line):
                if role != "to_apply" or " call(" in line:
                    visit(called, inner)
            for names in _BRANCHES.findall(line):
                for called in names.split(","):
                    visit(called.strip().lstrip("%"), inner)

    visit(entry, 1)
    return times


def _turns(line: str, computations: Mapping[str, list[str]]) -> int:
    """How often the loop of this line turns; jax's loops count from 0 in steps of 1."""
    stated = _TURNS.search(line)
    if stated:
        return int(stated[1])
    called = dict(_CALLED.findall(line))
    condition = "\n".join(computations[called["condition"]])
    compared = re.search(
        r"ROOT .* compare\((?:.*%)?[\w.\-]+, .*?%([\w.\-]+)\), direction=LT", condition
    )
    limit = compared and re.search(rf"%{re.escape(compared[1])} = .* constant\((\d+)\)", condition)
    if limit:
        return int(limit[1])
    if any(_COLLECTIVE.search(each) for each in computations[called["body"]]):
        raise ValueError(f"a loop that sends does not say how often it turns: {line.strip()}")
    return 1


def _bytes(shapes: str) -> float:
    total = 0.0
    for kind, sizes in _ARRAY.findall(shapes):
        digits = re.match(r"[a-z]+(\d+)", kind)
        bits = _BITS.get(kind) or int(digits[1] if digits else 8)
        elements = 1
        for size in filter(None, sizes.split(",")):
            elements *= int(size)
        total += elements * bits / 8
    return total


def _group_size(line: str, devices: int) -> int:
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
