"""What one number of an elementwise operation costs, in instructions of one fp32 multiplication.

From NVIDIA's table of arithmetic throughput (CUDA C++ Programming Guide, compute capability 9.0, a
multiprocessor and a clock: fp32 add and multiply 128; integer, comparison, conversion 64; special
functions 16) and from how XLA expands what has no instruction. Fixed before any step was held
against it. A fused multiplication and addition counts as two.
"""

_FREE = frozenset(
    [
        "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "bitcast-convert",
        "reshape", "broadcast", "transpose", "copy", "slice", "pad", "concatenate", "reverse",
        "dynamic-slice", "dynamic-update-slice", "gather", "after-all", "opt-barrier",
        "partition-id", "replica-id",
    ]
)  # fmt: skip
_SPECIAL = {
    "exponential": 10,  # a special function of 8, scaling before
    "exponential-minus-one": 16,
    "log": 10,
    "log-plus-one": 16,
    "rsqrt": 8,
    "sqrt": 12,
    "cbrt": 20,
    "divide": 16,  # a reciprocal of 8 and its correction
    "power": 24,
    "remainder": 24,
    "logistic": 24,
    "tanh": 32,  # a rational function of degree 13 over 6
    "erf": 32,
    "sine": 30,
    "cosine": 30,
    "rng-bit-generator": 50,  # threefry: 20 rounds of five integer operations make two numbers
}
_HALF_RATE = frozenset(["convert", "compare", "maximum", "minimum", "clamp", "iota"])


def instructions_a_number(opcode: str, element: str) -> int:
    """The cost of one number that `opcode` makes; `element` is its type, as in "f32" or "u32"."""
    if opcode in _FREE:
        return 0
    if opcode in _SPECIAL:
        return _SPECIAL[opcode]
    whole_number = element[0] in "su"
    return 2 if opcode in _HALF_RATE or whole_number else 1
