"""A compiled program as XLA prints it: computations, their instructions, and where they come from.

    %body (p: (s32[], f32[8,64])) -> (s32[], f32[8,64]) {
      %x = f32[8,64]{1,0} get-tuple-element(%p), index=1
      %dot.1 = f32[8,64]{1,0} dot(%x, %w), lhs_contracting_dims={1}, …, metadata={stack_frame_id=5}
    }

Instructions of a scheduled program stand in the order in which they run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_ARRAY = re.compile(r"\b(pred|token|[sufbc]f?\d+\w*)\[([\d,<=]*)\](?:\{([^}]*)\})?")
_CALLED = re.compile(
    r"(?:body|condition|calls|to_apply|true_computation|false_computation)=%?([\w.\-]+)"
)
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TURNS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


@dataclass(frozen=True)
class Array:
    """One array: its element's type, its sizes, and whether it lies in a device's main memory."""

    element: str
    sizes: tuple[int, ...]
    in_memory: bool = True

    @property
    def count(self) -> int:
        """How many numbers."""
        return math.prod(self.sizes)

    @property
    def bytes(self) -> float:
        """Bytes it takes anywhere."""
        digits = re.match(r"[a-z]+(\d+)", self.element)
        bits = 0 if self.element == "token" else int(digits[1]) if digits else 8
        return self.count * bits / 8


@dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    Attributes:
        shape: as printed; a tuple's in parentheses.
        operands: names of instructions of the same computation.
        attributes: the text behind the operands.
        is_root: whether it is what the computation gives back.
    """

    name: str
    opcode: str
    shape: str
    operands: tuple[str, ...]
    attributes: str
    is_root: bool = False

    @cached_property
    def arrays(self) -> tuple[Array, ...]:
        """The arrays of its result."""
        return arrays_of(self.shape)

    @cached_property
    def called(self) -> tuple[str, ...]:
        """The computations it names: a loop's body and condition, a fusion's inside, branches."""
        branches = _BRANCHES.search(self.attributes)
        listed = branches[1].split(",") if branches else []
        return (*_CALLED.findall(self.attributes), *(name.strip().lstrip("%") for name in listed))

    def attribute(self, pattern: str) -> str | None:
        """The first group of `pattern` in the attributes."""
        match = re.search(pattern, self.attributes)
        return match[1] if match else None

    def sizes_in(self, name: str) -> tuple[int, ...]:
        """`lhs_contracting_dims={1,2}` → (1, 2)."""
        listed = self.attribute(rf"{name}=\{{([\d,]*)\}}") or ""
        return tuple(int(size) for size in listed.split(",") if size)


@dataclass(frozen=True)
class Computation:
    """Instructions by name, in order."""

    instructions: Mapping[str, Instruction]

    def __iter__(self) -> Iterator[Instruction]:
        return iter(self.instructions.values())

    def __getitem__(self, name: str) -> Instruction:
        return self.instructions[name]

    @cached_property
    def root(self) -> Instruction:
        """What it gives back."""
        return next(each for each in self if each.is_root)

    @cached_property
    def users(self) -> dict[str, list[Instruction]]:
        """Who reads what."""
        readers: dict[str, list[Instruction]] = {name: [] for name in self.instructions}
        for each in self:
            for operand in dict.fromkeys(each.operands):
                readers[operand].append(each)
        return readers

    def operands(self, of: Instruction) -> list[Instruction]:
        """The instructions whose results `of` reads."""
        return [self.instructions[name] for name in of.operands]


@dataclass(frozen=True)
class Program:
    """All computations; the entry is what runs."""

    computations: Mapping[str, Computation]
    entry: str
    places: Mapping[int, str]

    def inside(self, instruction: Instruction) -> Computation | None:
        """What a fusion, or an asynchronous instruction, holds."""
        names = instruction.called
        return self.computations.get(names[0]) if names else None

    def place(self, instruction: Instruction) -> str:
        """file:line it was written at, or the name jax gave it."""
        frame = instruction.attribute(r"stack_frame_id=(\d+)")
        if frame and int(frame) in self.places:
            return self.places[int(frame)]
        file = instruction.attribute(r'source_file="([^"]*)"')
        line = instruction.attribute(r"source_line=(\d+)")
        if file and line:
            return f"{file}:{line}"
        return instruction.attribute(r'op_name="([^"]*)"') or instruction.name

    def turns(self, loop: Instruction) -> int | None:
        """How often a while loop turns; None: it does not say.

        Where the compiler does not state it (that for TPUs), the loop's condition does: jax's
        loops count from 0 in steps of 1 to the constant they are compared with.
        """
        stated = _TURNS.search(loop.attributes)
        if stated:
            return int(stated[1])
        condition = self.computations[str(loop.attribute(r"condition=%?([\w.\-]+)"))]
        compared = condition.root
        if compared.opcode == "compare" and "direction=LT" in compared.attributes:
            limit = condition.instructions.get(compared.operands[1])
            value = limit.attribute(r"^(\d+)\)") if limit and limit.opcode == "constant" else None
            return int(value) if value else None
        return None


def arrays_of(shape: str) -> tuple[Array, ...]:
    """`(f32[8]{0}, bf16[2,3]{1,0:S(1)})` → its two arrays; S(1) and so on is memory on chip."""
    found = []
    for element, sizes, layout in _ARRAY.findall(shape):
        numbers = tuple(int(size.strip("<=")) for size in sizes.split(",") if size)
        space = re.search(r"S\((\d+)\)", layout)
        found.append(Array(element, numbers, space is None or space[1] in ("0", "5")))
    return tuple(found)


def parse_hlo(text: str) -> Program:
    """What `compiled.as_text()` gives, read."""
    computations: dict[str, Computation] = {}
    current: dict[str, Instruction] = {}
    entry = ""
    for line in text.splitlines():
        head = None if line.startswith(("HloModule", " ")) else _COMPUTATION.match(line)
        if head:
            current = {}
            computations[head[2]] = Computation(current)
            entry = head[2] if head[1] else entry
            continue
        match = _INSTRUCTION.match(line)
        if match and computations:
            current[match[2]] = _instruction(match[2], match[3], bool(match[1]))
    return Program(computations, entry, _places(text))


def _instruction(name: str, text: str, is_root: bool) -> Instruction:
    end = _closing(text) if text.startswith("(") else text.index(" ")
    shape, rest = text[:end], text[end:].lstrip()
    opcode, _, _ = rest.partition("(")
    inner = rest[len(opcode) :]
    close = _closing(inner)
    named = () if opcode in ("constant", "parameter") else re.findall(r"%([\w.\-]+)", inner[:close])
    # A constant's value is kept: loops are compared with it.
    attributes = inner[1:] if opcode in ("constant", "parameter") else inner[close:]
    return Instruction(name, opcode, shape, tuple(named), attributes, is_root)


def _closing(text: str) -> int:
    """Behind the bracket that closes the first one."""
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return i + 1
    return len(text)


def _places(text: str) -> dict[int, str]:
    """file:line by stack frame, from the tables at the head of the program."""
    files = dict(re.findall(r'^(\d+) "(.*)"$', _table(text, "FileNames"), re.MULTILINE))
    lines = {
        number: f"{files.get(file, '?')}:{line}"
        for number, file, line in re.findall(
            r"^(\d+) \{file_name_id=(\d+) .*?\bline=(\d+)", _table(text, "FileLocations"), re.M
        )
    }
    frames = re.findall(r"^(\d+) \{file_location_id=(\d+)", _table(text, "StackFrames"), re.M)
    return {int(frame): lines[location] for frame, location in frames if location in lines}


def _table(text: str, name: str) -> str:
    match = re.search(rf"^{name}\n(.*?)\n\n", text, re.MULTILINE | re.DOTALL)
    return match[1] if match else ""
