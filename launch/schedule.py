"""The order in which a compiled program runs: its kernels, what it sends, and what waits for what.

start(all-reduce)    ─┐ sent on the wire …
kernel, kernel        │ … while the device computes
done(all-reduce)     ─┘ the device waits for what of it is left
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .collectives import begun_by
from .counting import NOTHING
from .hlo import Computation, Instruction, Program


@dataclass(frozen=True)
class Kernel:
    """The device computes."""

    instruction: Instruction
    of: Computation


@dataclass(frozen=True)
class Send:
    """A collective begins. `waits`: the device does nothing until it has ended."""

    instruction: Instruction
    collective: Instruction
    waits: bool


@dataclass(frozen=True)
class Copy:
    """The device begins to bring an array closer, or to take it away, and goes on."""

    instruction: Instruction


@dataclass(frozen=True)
class Done:
    """What `began` must have ended."""

    began: str


@dataclass(frozen=True)
class Loop:
    """A body that runs so many times."""

    body: tuple[Event, ...]
    turns: int


@dataclass(frozen=True)
class Choice:
    """One of several branches runs."""

    branches: tuple[tuple[Event, ...], ...]


Event = Kernel | Send | Copy | Done | Loop | Choice


def schedule(program: Program) -> tuple[Event, ...]:
    """What runs, from the entry on.

    Raises:
        ValueError: a loop that works or sends does not say how often it turns.
    """
    return tuple(_events(program.computations[program.entry], program))


def collectives(events: Iterable[Event], times: int = 1) -> Iterator[tuple[Instruction, int]]:
    """Every collective, and how often it runs; those of all branches of a choice."""
    for event in events:
        if isinstance(event, Send):
            yield event.collective, times
        elif isinstance(event, Loop):
            yield from collectives(event.body, times * event.turns)
        elif isinstance(event, Choice):
            for branch in event.branches:
                yield from collectives(branch, times)


def _events(of: Computation, program: Program) -> Iterator[Event]:
    for each in of:
        if each.opcode in NOTHING:
            continue
        if each.opcode == "while":
            body = str(each.attribute(r"body=%?([\w.\-]+)"))
            turns = program.turns(each)
            events = tuple(_events(program.computations[body], program))
            if turns is None and events:
                raise ValueError(
                    "a loop does not say how many times it runs:"
                    f" {each.name}{each.attributes[:200]}"
                )
            yield Loop(events, turns or 0)
        elif each.opcode == "conditional":
            branches = (program.computations[name] for name in each.called)
            yield Choice(tuple(tuple(_events(branch, program)) for branch in branches))
        elif each.opcode == "call":
            yield from _events(program.computations[each.called[0]], program)
        elif each.opcode in ("async-update", "call-update"):
            continue
        elif each.opcode.endswith("-done"):
            yield Done(_origin(each, of))
        elif (collective := begun_by(each, program)) is not None:
            yield Send(each, collective, not each.opcode.endswith("-start"))
        elif each.opcode in ("copy-start", "slice-start", "async-start", "call-start"):
            yield Copy(each)
        else:
            yield Kernel(each, of)


def _origin(done: Instruction, of: Computation) -> str:
    """The instruction that began what `done` ends."""
    current = done
    while not current.opcode.endswith("-start") and current.operands:
        current = of[current.operands[0]]
    return current.name
