"""Operations and bytes of compiled programs, against what can be counted by hand."""

import zlib

import jax
import jax.numpy as jnp
import pytest

from launch.counting import Work, work_of
from launch.hlo import parse_hlo
from launch.least_time import least_time
from launch.machines import parse_topology


def compiled(function, *shapes):
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return parse_hlo(jax.jit(function).lower(*arguments).compile().as_text())


def totals(function, *shapes):
    return least_time(compiled(function, *shapes), parse_topology("h100:1"))


def entry_kernel(text, name):
    program = parse_hlo(text)
    entry = program.computations[program.entry]
    return work_of(entry[name], entry, program)


def test_a_product_and_the_bytes_of_its_three_matrices():
    work = totals(lambda x, w: x @ w, (8, 64), (64, 32)).work
    assert work.products == work.wide == 2 * 8 * 64 * 32
    assert work.bytes == 4 * (8 * 64 + 64 * 32 + 8 * 32)


def test_many_products_at_once():
    work = totals(lambda a, b: jnp.einsum("bij,bjk->bik", a, b), (6, 8, 64), (6, 64, 16)).work
    assert work.products == 6 * 2 * 8 * 64 * 16


@pytest.mark.parametrize("turns", [1, 5, 12])
def test_a_loop_counts_as_often_as_it_turns(turns):
    def looped(x, w):
        return jax.lax.scan(lambda c, _: (jnp.tanh(c @ w), None), x, None, length=turns)[0]

    least = totals(looped, (8, 64), (64, 64))
    assert least.work.products == turns * 2 * 8 * 64 * 64
    # A product and a tanh in each turn; beside them only counting, and copies in and out.
    assert sum(cost.count for cost in least.kernels if cost.work.products) == turns


def test_of_two_branches_the_longer_counts():
    def either(x, w):
        return jax.lax.cond(x.sum() > 0, lambda: x @ w @ w, lambda: x @ w)

    assert totals(either, (8, 64), (64, 64)).work.products == 2 * (2 * 8 * 64 * 64)


def test_other_operations_by_what_each_costs():
    # A multiplication is 1, a tanh 32, an fp32 comparison 2; of 100 x 100 numbers each.
    program = compiled(lambda x: jnp.tanh(x * 3.0), (100, 100))
    (kernel,) = least_time(program, parse_topology("h100:1")).kernels
    assert kernel.work == Work(0, 0, 33 * 10_000, 2 * 4 * 10_000)


FUSIONS = """HloModule jit_step, is_scheduled=true

%slice_one (p0: f32[12,64,64], p1: s32[]) -> f32[64,64] {
  %p0 = f32[12,64,64]{2,1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  %cut = f32[1,64,64]{2,1,0} dynamic-slice(%p0, %p1, %zero, %zero), dynamic_slice_sizes={1,64,64}
  ROOT %flat = f32[64,64]{1,0} bitcast(%cut)
}

%put_one (q0: f32[12,64,64], q1: f32[1,64,64], q2: s32[]) -> f32[12,64,64] {
  %q0 = f32[12,64,64]{2,1,0} parameter(0)
  %q1 = f32[1,64,64]{2,1,0} parameter(1)
  %q2 = s32[] parameter(2)
  %nought = s32[] constant(0)
  ROOT %put = f32[12,64,64]{2,1,0} dynamic-update-slice(%q0, %q1, %q2, %nought, %nought)
}

%as_it_is (r0: f32[12,64,64]) -> f32[12,64,64] {
  %r0 = f32[12,64,64]{2,1,0} parameter(0)
  ROOT %copied = f32[12,64,64]{2,1,0} copy(%r0)
}

%put_for_tpu (s0: f32[12,64,64], s1: f32[1,64,64], s2: s32[]) -> f32[12,64,64] {
  %s0 = f32[12,64,64]{2,1,0} parameter(0)
  %s1 = f32[1,64,64]{2,1,0} parameter(1)
  %s2 = s32[] parameter(2)
  %none = s32[] constant(0)
  %same = f32[12,64,64]{2,1,0} fusion(%s0), kind=kLoop, output_to_operand_aliasing={{}: (0, {})}, \
calls=%as_it_is
  ROOT %put_there = f32[12,64,64]{2,1,0} dynamic-update-slice(%same, %s1, %s2, %none, %none)
}

%add (m: f32[], n: f32[]) -> f32[] {
  %m = f32[] parameter(0)
  %n = f32[] parameter(1)
  ROOT %sum = f32[] add(%m, %n)
}

ENTRY %main (a: f32[12,64,64], i: s32[], b: f32[1,64,64], q: bf16[2,128,12,64], w: bf16[64,8]) \
-> f32[64,64] {
  %a = f32[12,64,64]{2,1,0} parameter(0)
  %i = s32[] parameter(1)
  %b = f32[1,64,64]{2,1,0} parameter(2)
  %q = bf16[2,128,12,64]{3,2,1,0} parameter(3)
  %w = bf16[64,8]{1,0} parameter(4)
  %flat_q = bf16[3072,64]{1,0} bitcast(%q)
  %put_fusion = f32[12,64,64]{2,1,0} fusion(%a, %b, %i), kind=kLoop, calls=%put_one
  %tpu_fusion = f32[12,64,64]{2,1,0} fusion(%a, %b, %i), kind=kLoop, calls=%put_for_tpu
  %nothing = f32[] constant(0)
  %sums = f32[12,64,64]{2,1,0} reduce-window(%a, %nothing), window={size=1x1x127 \
pad=0_0x0_0x63_63}, to_apply=%add
  %three = f32[12,64,64]{2,1,0} reduce-window(%a, %nothing), window={size=1x1x3 \
pad=0_0x0_0x1_1}, to_apply=%add
  %near = f32[12,64,64]{2,1,0:S(1)} copy(%a)
  %library = (bf16[3072,8]{1,0}, s8[4194304]{0}) custom-call(%flat_q, %w), \
custom_call_target="__cublas$lt$matmul", backend_config={"gemm_backend_config":\
{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"],"rhs_contracting_dimensions":["0"]}}}
  %attention = (bf16[2,128,12,64]{3,2,1,0}, u8[0]{0}) custom-call(%q, %q, %q), \
custom_call_target="__cudnn$fmhaSoftmax"
  %back = (bf16[2,128,12,64]{3,2,1,0}, u8[0]{0}) custom-call(%q, %q, %q), \
custom_call_target="__cudnn$fmhaSoftmaxBackward"
  %hashing = u32[2,12,1,4]{3,2,1,0} iota(), iota_dimension=0
  %ids = s32[2,1,128]{2,1,0} iota(), iota_dimension=0
  %ours = (bf16[2,128,12,64]{3,2,1,0}, f32[2,12,1,128]{3,2,1,0}) custom-call(%hashing, %ids, %q, \
%q, %q), custom_call_target="__gpu$xla.gpu.triton", metadata={op_name="jit(f)/flash_forward/pallas\
_call"}
  %matrices = bf16[8,128,32]{2,1,0} convolution(%many, %more), \
window={size=8 stride=7 lhs_dilate=8}, dim_labels=0bf_0io->0bf
  %many = bf16[8,128,64]{2,1,0} bitcast(%q)
  %more = bf16[8,64,32]{2,1,0} bitcast(%q)
  ROOT %slice_fusion = f32[64,64]{1,0} fusion(%a, %i), kind=kLoop, calls=%slice_one
}
"""
SLICE = 4 * 64 * 64


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("slice_fusion", Work(bytes=SLICE + 4 + SLICE)),  # what is cut out, its place, the result
        ("put_fusion", Work(bytes=SLICE + 4 + SLICE)),  # into an array that stays where it is
        ("tpu_fusion", Work(bytes=SLICE + 4 + SLICE)),  # whose copy is of the array on itself
        # Every number of a row gets the sum of all 64: as many additions as there are numbers.
        ("sums", Work(instructions=12 * 64 * 64, bytes=2 * 12 * SLICE + 4)),
        ("three", Work(instructions=3 * 12 * 64 * 64, bytes=2 * 12 * SLICE + 4)),
        ("near", Work(bytes=12 * SLICE)),  # S(1) lies on the chip
        # A library's scratch of 4 MiB is no result.
        ("library", Work(2 * 3072 * 64 * 8, bytes=2 * (3072 * 64 + 64 * 8 + 3072 * 8))),
        # Two products of 128 x 128 x 64 for each of 24 heads; five to go back.
        ("attention", Work(2 * 2 * 24 * 128 * 128 * 64, bytes=4 * 2 * 2 * 128 * 12 * 64)),
        ("back", Work(5 * 2 * 24 * 128 * 128 * 64, bytes=4 * 2 * 2 * 128 * 12 * 64)),
        # Ours: queries, keys, values and the output; a number a query and head; hashing, ids.
        (
            "ours",
            Work(
                2 * 2 * 24 * 128 * 128 * 64,
                instructions=42 * 24 * 128 * 128,
                bytes=4 * 2 * 2 * 128 * 12 * 64 + 4 * (24 * 128 + 2 * 12 * 4 + 2 * 128),
            ),
        ),
        # As TPUs write eight products at once: 64 pairs of matrices, of which 8 meet.
        (
            "matrices",
            Work(8 * 2 * 128 * 64 * 32, bytes=2 * (8 * 128 * 64 + 8 * 64 * 32 + 8 * 128 * 32)),
        ),
    ],
)
def test_what_fusions_and_libraries_touch(name, expected):
    assert entry_kernel(FUSIONS, name) == expected


def test_kernels_name_their_line():
    def here(x):
        return jnp.tanh(x)

    line = here.__code__.co_firstlineno + 1
    # A shape of this place alone: the tests' cache knows programs, and not whose lines they have.
    least = totals(here, (line, 1 + zlib.crc32(__file__.encode()) % 1000))
    assert least.kernels[0].place == f"{__file__}:{line}"
