"""How long a step takes if every kernel is as fast as the device's arithmetic, or its memory.

A roofline over the compiled program (Williams et al. 2009): a kernel takes the larger of the time
its operations need and the time its bytes need, at what kernels reach of the datasheet
(`machines.Reached`), and its launch. They run one after another, as scheduled. A collective is
sent meanwhile; what of it is not over when its result is wanted is waited for. A loop's body counts
as often as it turns, of branches the one that takes longest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from .collectives import Traffic, total_traffic, traffic_of
from .counting import Work, work_of
from .hlo import Instruction, Program
from .machines import Topology
from .schedule import Choice, Copy, Done, Event, Kernel, Loop, Send, schedule


@dataclass(frozen=True)
class Cost:
    """Kernels of one place in the source that do the same work.

    Attributes:
        place: file:line.
        what: the instruction's kind and result.
        count: how many there are, loops counted.
        work: of one.
        seconds: of one.
        serial: of one whose parts wait for each other.
        bound: what it takes so long for: "products", "instructions" or "memory".
    """

    place: str
    what: str
    count: int
    work: Work
    seconds: float
    serial: float
    bound: str

    @property
    def total(self) -> float:
        """Seconds of all of them."""
        return self.count * self.seconds


@dataclass(frozen=True)
class LeastTime:
    """Seconds of a step on one device.

    Attributes:
        step: all together.
        serial: the same if in a kernel products, other operations and bytes waited for each other.
        products, instructions, memory: of kernels that are bound by each.
        launches: from one kernel to the next.
        waiting: for what is sent, and for copies, beside which nothing is computed.
        sending: that the wire is busy, hidden or not.
        work: of all kernels.
        kernels: the slowest first.
        traffic: by kind of collective.
    """

    step: float
    serial: float
    products: float
    instructions: float
    memory: float
    launches: float
    waiting: float
    sending: float
    work: Work
    kernels: tuple[Cost, ...]
    traffic: dict[str, Traffic]


def least_time(program: Program, topology: Topology) -> LeastTime:
    """Estimate one step of a compiled program.

    Raises:
        ValueError: a loop does not say how many times it runs.
    """
    run = _Run(program, topology)
    run.play(schedule(program), 1)
    kernels = tuple(sorted(run.kernels.values(), key=lambda cost: -cost.total))
    bound = {name: 0.0 for name in ("products", "instructions", "memory")}
    for cost in kernels:
        bound[cost.bound] += cost.total
    launches = topology.device.reached.launch * sum(cost.count for cost in kernels)
    return LeastTime(
        step=run.now,
        serial=run.now + sum(cost.count * (cost.serial - cost.seconds) for cost in kernels),
        **bound,
        launches=launches,
        waiting=run.now - sum(bound.values()) - launches,
        sending=run.sending,
        work=sum((_times(cost.work, cost.count) for cost in kernels), Work()),
        kernels=kernels,
        traffic=total_traffic(run.sends, topology.count),
    )


def _times(work: Work, count: int) -> Work:
    return Work(
        count * work.products, count * work.wide, count * work.instructions, count * work.bytes
    )


@dataclass
class _Run:
    """The device's clock, and when wire and copies are free again."""

    program: Program
    topology: Topology
    now: float = 0.0
    wire: float = 0.0
    copies: float = 0.0
    sending: float = 0.0
    ends: dict[str, float] = field(default_factory=dict)
    kernels: dict[tuple[str, str, Work], Cost] = field(default_factory=dict)
    sends: list[tuple[Instruction, int]] = field(default_factory=list)

    def play(self, events: Iterable[Event], times: int) -> None:
        """Let one turn of the events pass, and count it `times` times over."""
        for event in events:
            match event:
                case Kernel():
                    cost = self._cost(event)
                    key = (cost.place, cost.what, cost.work)
                    known = self.kernels.get(key, replace(cost, count=0))
                    self.kernels[key] = replace(known, count=known.count + times)
                    self.now += cost.seconds + self.topology.device.reached.launch
                case Send():
                    self.sends.append((event.collective, times))
                    seconds = self._seconds_to_send(event.collective)
                    self.wire = max(self.wire, self.now) + seconds
                    self.sending += seconds * times
                    self.ends[event.instruction.name] = self.wire
                    if event.waits:
                        self.now = self.wire
                case Copy():
                    bytes_moved = sum(
                        each.bytes for each in event.instruction.arrays if each.in_memory
                    )
                    self.copies = max(self.copies, self.now) + bytes_moved / self._memory
                    self.ends[event.instruction.name] = self.copies
                case Done():
                    self.now = max(self.now, self.ends.get(event.began, 0.0))
                case Loop():
                    began = self.now
                    self.play(event.body, times * event.turns)
                    self.now = began + event.turns * (self.now - began)
                case Choice():
                    self._longest(event, times)

    def _longest(self, choice: Choice, times: int) -> None:
        tried = [_Run(self.program, self.topology) for _ in choice.branches]
        for run, branch in zip(tried, choice.branches, strict=True):
            run.play(branch, 1)
        times_taken = [run.now for run in tried]
        self.play(choice.branches[times_taken.index(max(times_taken))], times)

    @property
    def _memory(self) -> float:
        device = self.topology.device
        return device.memory_bandwidth * device.reached.memory

    def _cost(self, kernel: Kernel) -> Cost:
        device, work = self.topology.device, work_of(kernel.instruction, kernel.of, self.program)
        slow = work.wide if device.platform == "gpu" else 0.0
        needs = {
            "products": (work.products + slow) / (device.flops * device.reached.matrices),
            "instructions": work.instructions / device.instructions,
            "memory": work.bytes / self._memory,
        }
        bound = max(needs, key=lambda name: needs[name])
        instruction = kernel.instruction
        kind = instruction.attribute(r"kind=(\w+)") or instruction.attribute(
            r'custom_call_target="([^"]*)"'
        )
        result = ", ".join(
            f"{array.element}[{','.join(map(str, array.sizes))}]"
            for array in instruction.arrays[:2]
        )
        what = f"{kind or instruction.opcode} {result}"
        place, serial = self.program.place(instruction), sum(needs.values())
        return Cost(place, what, 1, work, needs[bound], serial, bound)

    def _seconds_to_send(self, collective: Instruction) -> float:
        reached = self.topology.device.reached
        sent = traffic_of(collective, self.topology.count).sent
        return reached.collective + sent / (self.topology.interconnect * reached.wires)
