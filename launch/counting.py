"""What one kernel of a compiled program does: products, other operations, bytes of memory.

%fusion.7 = bf16[128,768] fusion(%x, %w), kind=kCustom, calls=%…       x: bf16[128,3072]
    products      2 · 128 · 768 · 3072 floating-point operations
    instructions  of what is fused to them, number by number (`instruction_costs`)
    bytes         of x, w and the result; of a slice that is read, the slice
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from .hlo import Array, Computation, Instruction, Program
from .instruction_costs import instructions_a_number

# Names for what is there already, and steps that the walk through the program takes.
NOTHING = frozenset(
    [
        "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all",
        "opt-barrier", "partition-id", "replica-id",
    ]
)  # fmt: skip
_SAME_BYTES = ("bitcast", "reshape", "get-tuple-element")


@dataclass(frozen=True)
class Work:
    """Of one kernel.

    Attributes:
        products: floating-point operations of matrix products.
        wide: of these, on fp32 numbers, which take a GPU's tensor cores twice as long (as TF32).
        instructions: of everything else, as many as take the time of an fp32 multiplication each.
        bytes: between the device and its memory.
    """

    products: float = 0.0
    wide: float = 0.0
    instructions: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.products + other.products,
            self.wide + other.wide,
            self.instructions + other.instructions,
            self.bytes + other.bytes,
        )


def work_of(instruction: Instruction, of: Computation, program: Program) -> Work:
    """Count a kernel: a fusion with all that is in it, or a single instruction."""
    inside = program.inside(instruction) if instruction.opcode == "fusion" else None
    if inside is None:
        moved = _bytes_alone(instruction, of)
        return _operations(instruction, of, program) + Work(bytes=moved)
    moved = _bytes_of_fusion(instruction, inside)
    return _operations_inside(inside, program) + Work(bytes=moved)


def _operations_inside(inside: Computation, program: Program) -> Work:
    return sum((_operations(each, inside, program) for each in inside), Work())


def _operations(instruction: Instruction, of: Computation, program: Program) -> Work:
    opcode, nested = instruction.opcode, program.inside(instruction)
    if opcode == "fusion" and nested is not None:
        return _operations_inside(nested, program)
    if opcode == "custom-call" and (flash := instruction.attribute(r'op_name="[^"]*/(flash_\w+)/')):
        return _of_flash(flash, of.operands(instruction))
    if opcode in _PRODUCTS:
        products = _PRODUCTS[opcode](instruction, of)
        wide = products and of.operands(instruction)[0].arrays[0].element == "f32"
        return Work(products, products if wide else 0.0)
    if opcode in ("reduce", "reduce-window", "scatter", "map"):
        return Work(instructions=_applied(instruction, of, program, nested))
    if opcode == "sort":
        array = instruction.arrays[0]
        return Work(instructions=2 * array.count * math.log2(max(*array.sizes, 2)))
    numbers = (
        each.count * instructions_a_number(opcode, each.element) for each in instruction.arrays
    )
    return Work(instructions=float(sum(numbers)))


# Of our own attention (`bert_jax.kernels.flash_kernels`): products of L · L · H a head; and the
# instructions of each weight, most of them its hash, counted in the kernel by `instruction_costs`.
_FLASH = {
    "flash_forward": (2, 42),
    "flash_backward_of_queries": (3, 44),
    "flash_backward_of_keys": (4, 47),
}


def _of_flash(name: str, operands: list[Instruction]) -> Work:
    ids, queries = operands[1].arrays[0], operands[2].arrays[0]
    numbers = queries.count * ids.sizes[-1]  # L · L · H, of all heads
    products, instructions = _FLASH[name]
    wide = 2.0 * products * numbers if queries.element == "f32" else 0.0
    return Work(2.0 * products * numbers, wide, instructions * numbers / queries.sizes[-1])


def _applied(
    instruction: Instruction, of: Computation, program: Program, applied: Computation | None
) -> float:
    """A small computation, once for each number that is reduced or scattered."""
    operands = of.operands(instruction)
    each = _operations_inside(applied, program).instructions if applied else 1.0
    if instruction.opcode == "scatter":
        return each * operands[-1].arrays[0].count
    count = operands[0].arrays[0].count
    if instruction.opcode == "reduce-window":
        window = instruction.attribute(r"window=\{size=([\dx]+)") or "1"
        count = instruction.arrays[0].count * math.prod(
            # TPUs write a sum that every number of a row gets as a window over all from each.
            1 if int(size) >= 2 * there - 1 else int(size)
            for size, there in zip(window.split("x"), operands[0].arrays[0].sizes, strict=False)
        )
    return each * count


def _dot(instruction: Instruction, of: Computation) -> float:
    left = of.operands(instruction)[0].arrays[0]
    depth = math.prod(left.sizes[axis] for axis in instruction.sizes_in("lhs_contracting_dims"))
    return 2.0 * instruction.arrays[0].count * depth


def _convolution(instruction: Instruction, of: Computation) -> float:
    """TPUs write products as convolutions, also those of many matrices, mostly of padding."""
    left, right = (each.arrays[0] for each in of.operands(instruction)[:2])
    labels = instruction.attribute(r"dim_labels=([\w>?]+_?[\w>?]*->[\w>?]+)") or ""
    lhs, rhs, out = re.split(r"_|->", labels)
    window = _window(instruction.attribute(r"window=\{([^}]*)\}") or "")
    result = instruction.arrays[0]
    places = 1.0
    for axis in (letter for letter in lhs if letter.isdigit()):
        places *= _valid_places(
            left.sizes[lhs.index(axis)],
            right.sizes[rhs.index(axis)],
            result.sizes[out.index(axis)],
            {name: values[int(axis)] for name, values in window.items()},
        )
    features = right.sizes[rhs.index("i")]
    return 2.0 * result.sizes[out.index("b")] * result.sizes[out.index("f")] * features * places


def _window(text: str) -> dict[str, list[str]]:
    """`size=3x1 pad=1_1x0_0` → {"size": ["3", "1"], "pad": ["1_1", "0_0"]}."""
    return {name: values.split("x") for name, values in re.findall(r"(\w+)=([\d_x\-]+)", text)}


def _valid_places(inputs: int, kernel: int, outputs: int, window: dict[str, str]) -> int:
    """Pairs of an output and a kernel position that meet an input, and not padding."""
    stride, before = int(window.get("stride", 1)), int(window.get("pad", "0_0").split("_")[0])
    spread, apart = int(window.get("lhs_dilate", 1)), int(window.get("rhs_dilate", 1))
    at = np.arange(outputs)[:, None] * stride + np.arange(kernel)[None] * apart - before
    return int(np.count_nonzero((at % spread == 0) & (at >= 0) & (at // spread < inputs)))


def _library(instruction: Instruction, of: Computation) -> float:
    """Products that cuBLAS and cuDNN compute; of other libraries' kernels nothing is known."""
    target = instruction.attribute(r'custom_call_target="([^"]*)"') or ""
    operands = of.operands(instruction)
    if target.startswith("__cublas"):
        depth_of = instruction.attribute(r'"lhs_contracting_dimensions":\[([\d",]*)\]') or ""
        left = operands[0].arrays[0]
        depth = math.prod(left.sizes[int(axis)] for axis in re.findall(r"\d+", depth_of))
        return 2.0 * instruction.arrays[0].count * depth
    if target.startswith("__cudnn$fmha"):
        # [B, L, N, H]: two products of L · L · H a head, five to go back.
        queries, keys = operands[0].arrays[0], operands[1].arrays[0]
        products = 5 if "Backward" in target else 2
        return 2.0 * products * queries.count * keys.sizes[1]
    return 0.0


_PRODUCTS = {"dot": _dot, "convolution": _convolution, "custom-call": _library}


def _bytes_alone(instruction: Instruction, of: Computation) -> float:
    operands, written = of.operands(instruction), instruction.arrays
    if instruction.opcode == "custom-call":  # what a library keeps its own notes in is none
        written = tuple(each for each in written if each.element not in ("s8", "u8"))
    if instruction.opcode == "dynamic-update-slice":
        return 2 * _total(operands[1].arrays)
    if instruction.opcode == "scatter":
        return 3 * _total(operands[-1].arrays)
    if instruction.opcode in ("dynamic-slice", "slice", "gather"):
        return 2 * _total(written)
    return _total(written) + sum(_total(each.arrays) for each in operands)


def _bytes_of_fusion(fusion: Instruction, inside: Computation) -> float:
    read = sum(_bytes_read(each, inside) for each in inside if each.opcode == "parameter")
    root = inside.root
    roots = inside.operands(root) if root.opcode == "tuple" else [root]
    if len(roots) != len(fusion.arrays):
        return read + _total(fusion.arrays)
    return read + sum(
        _bytes_written(each, array, inside)
        for each, array in zip(roots, fusion.arrays, strict=True)
    )


def _bytes_read(parameter: Instruction, inside: Computation) -> float:
    """Of a fusion's operand: all of it, or the slices that are taken."""
    whole = _total(parameter.arrays)
    if not whole:
        return 0.0
    taken, waiting = 0.0, [parameter]
    while waiting:
        current = waiting.pop()
        for user in inside.users[current.name]:
            first = user.operands[0] == current.name
            if _is_same(user):
                waiting.append(user)
            elif first and user.opcode in ("dynamic-slice", "slice", "gather"):
                taken += _total(user.arrays)
            elif not (first and user.opcode in ("dynamic-update-slice", "scatter")):
                return whole
    return min(taken, whole)


def _is_same(instruction: Instruction) -> bool:
    """Whether its result is its operand's bytes, as a copy may be in a fusion for TPUs."""
    aliased = "output_to_operand_aliasing=" in instruction.attributes
    return instruction.opcode in _SAME_BYTES or (instruction.opcode == "fusion" and aliased)


def _bytes_written(root: Instruction, array: Array, inside: Computation) -> float:
    """Of a fusion's result: all of it, or what is put into an array that is there already."""
    while _is_same(root) and root.operands:
        root = inside.operands(root)[0]
    if root.opcode == "dynamic-update-slice":
        return _total(inside.operands(root)[1].arrays)
    if root.opcode == "scatter":
        return 2 * _total(inside.operands(root)[-1].arrays)
    return _total((array,))


def _total(arrays: tuple[Array, ...]) -> float:
    return sum(each.bytes for each in arrays if each.in_memory)
