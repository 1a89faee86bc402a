"""What waits for what: collectives beside which the device computes, and those it waits for."""

import pytest

from launch import machines
from launch.hlo import parse_hlo
from launch.least_time import least_time
from launch.machines import Device, Reached, Topology

# A kernel copies 250,000 numbers at 1 GB/s: 2 ms, and 1 ms for its launch. An all-reduce of
# 1,000,000 over two devices sends 4 MB at 1 GB/s: 4 ms.
ROUND = Device("gpu", 1e12, 1e12, 1e9, 1e9, 1e9, reached=Reached(launch=0.001))
HEAD = """HloModule jit_step, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%sent (g: f32[1000000]) -> f32[1000000] {
  %g = f32[1000000]{0} parameter(0)
  ROOT %inner = f32[1000000]{0} all-reduce(%g), replica_groups={{0,1}}, to_apply=%add
}

%body (s: (s32[], f32[250000], f32[1000000])) -> (s32[], f32[250000], f32[1000000]) {
  %s = (s32[], f32[250000]{0}, f32[1000000]{0}) parameter(0)
  %n = s32[] get-tuple-element(%s), index=0
  %u = f32[250000]{0} get-tuple-element(%s), index=1
  %v = f32[1000000]{0} get-tuple-element(%s), index=2
  %begin = f32[1000000]{0} all-reduce-start(%v), replica_groups={{0,1}}, to_apply=%add
  %work = f32[250000]{0} copy(%u)
  %end = f32[1000000]{0} all-reduce-done(%begin)
  ROOT %t = (s32[], f32[250000]{0}, f32[1000000]{0}) tuple(%n, %work, %end)
}

%condition (c: (s32[], f32[250000], f32[1000000])) -> pred[] {
  %c = (s32[], f32[250000]{0}, f32[1000000]{0}) parameter(0)
  %m = s32[] get-tuple-element(%c), index=0
  %limit = s32[] constant(3)
  ROOT %less = pred[] compare(%m, %limit), direction=LT
}

ENTRY %main (x: f32[250000], y: f32[1000000]) -> f32[] {
  %x = f32[250000]{0} parameter(0)
  %y = f32[1000000]{0} parameter(1)
"""
GROUPS = "replica_groups={{0,1}}, to_apply=%add"
KERNEL = "%k{} = f32[250000]{{0}} copy(%x)"
WAITS = f"%r = f32[1000000]{{0}} all-reduce(%y), {GROUPS}"
START = f"%s{{}} = f32[1000000]{{{{0}}}} all-reduce-start(%y), {GROUPS}".replace(
    "{{0,1}}", "{{{{0,1}}}}"
)
DONE = "%d{} = f32[1000000]{{0}} all-reduce-done(%s{})"
ASYNC = "%s1 = ((f32[1000000]{0}), f32[1000000]{0}, u32[]) async-start(%y), calls=%sent"
BESIDE = (
    "%s1 = ((f32[1000000]{0}), f32[1000000]{0}, u32[]) call-start(%y), "
    'async_execution_thread="sparsecore", to_apply=%sent'
)
GOES_ON = "%u1 = ((f32[1000000]{0}), f32[1000000]{0}, u32[]) call-update(%s1)"
LOOP = "%w = (s32[], f32[250000]{0}, f32[1000000]{0}) while(%i), condition=%condition, body=%body"
INPUT = "%i = (s32[], f32[250000]{0}, f32[1000000]{0}) tuple(%zero, %x, %y)"


def kernel(i):
    return KERNEL.format(i)


def start(i):
    return START.format(i)


def done(i):
    return DONE.format(i, i)


@pytest.fixture
def estimate(monkeypatch):
    monkeypatch.setitem(machines.DEVICES, "round", ROUND)

    def of(*lines):
        text = (
            HEAD + "".join(f"  {line}\n" for line in lines) + "  ROOT %o = f32[] constant(0)\n}\n"
        )
        least = least_time(parse_hlo(text), Topology("round", (2,)))
        return tuple(round(1e3 * each, 9) for each in (least.step, least.waiting, least.sending))

    return of


@pytest.mark.parametrize(
    ("lines", "expected"),  # milliseconds: of the step, of waiting, of sending
    [
        ([kernel(1), kernel(2)], (6, 0, 0)),
        ([kernel(1), WAITS, kernel(2)], (10, 4, 4)),
        ([start(1), done(1), kernel(1)], (7, 4, 4)),
        ([start(1), kernel(1), done(1), kernel(2)], (7, 1, 4)),
        ([start(1), kernel(1), kernel(2), done(1)], (6, 0, 4)),
        # One wire: the second is sent when the first is over.
        ([start(1), start(2), kernel(1), done(1), kernel(2), done(2)], (8, 2, 8)),
        ([ASYNC, kernel(1), "%e = f32[1000000]{0} async-done(%s1)", kernel(2)], (7, 1, 4)),
        # By another core of a TPU.
        ([BESIDE, GOES_ON, kernel(1), "%e = f32[1000000]{0} call-done(%u1)", kernel(2)], (7, 1, 4)),
        # Three turns of 4 ms, of which 3 are hidden.
        (["%zero = s32[] constant(0)", INPUT, LOOP], (12, 3, 12)),
    ],
    ids=range(9),
)
def test_what_is_sent_is_hidden_behind_what_is_computed_meanwhile(estimate, lines, expected):
    assert estimate(*lines) == expected


def test_a_loop_that_does_not_say_how_often_is_no_figure():
    text = HEAD.replace("constant(3)", "parameter(1)") + "".join(
        f"  {line}\n" for line in ["%zero = s32[] constant(0)", INPUT, f"ROOT {LOOP}"]
    )
    with pytest.raises(ValueError, match="a loop does not say how many times it runs: w"):
        least_time(parse_hlo(text + "}\n"), Topology("h100", (2,)))
