"""What devices send each other, from a program written by hand and from one that is compiled."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from bert_jax.training.sharding import create_mesh
from launch.collectives import Traffic, read_collectives

# A loop of 12 turns with an all-reduce of 4 KiB over pairs; outside, one of each other kind.
PROGRAM = """HloModule jit_step, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%a, %b)
}

%body (p: (s32[], f32[1024])) -> (s32[], f32[1024]) {
  %all-reduce.1 = f32[1024]{0} all-reduce(%x), replica_groups=[4,2]<=[8], to_apply=%add
}

%condition (p: (s32[], f32[1024])) -> pred[] {
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

%sends (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %all-to-all.1 = f32[8]{0:T(128)} all-to-all(%x), replica_groups={}, dimensions={0}
}

%until (p: (s32[], f32[8])) -> pred[] {
  %constant.1.clone = s32[]{:T(128)} constant(24)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  ROOT %lt.1 = pred[]{:T(512)} compare(%i, %constant.1.clone), direction=LT, metadata={a="b"}
}

ENTRY %main (p: f32[1024]) -> f32[1024] {
  %while.1 = (s32[], f32[1024]{0}) while(%t), condition=%condition, body=%body, \
backend_config={"known_trip_count":{"n":"12"}}
  %while.2 = (s32[], f32[8]{0}) while(%u), condition=%until, body=%sends
  %all-gather-start = (bf16[128]{0}, bf16[512]{0}) all-gather-start(%y), \
replica_groups={{0,1,2,3},{4,5,6,7}}, dimensions={0}
  %all-gather-done = bf16[512]{0} all-gather-done(%all-gather-start)
  %reduce-scatter = f32[64]{0} reduce-scatter(%z), replica_groups={}, to_apply=%add
  %all-reduce-start = ((f32[256]{0}), f32[256]{0}) all-reduce-start(%v), \
replica_groups=mesh['data'=2,'fsdp'=4] {'fsdp'}, to_apply=%add
  %all-reduce-done = f32[256]{0} all-reduce-done(%all-reduce-start)
  %permute = f32[10]{0} collective-permute(%w), source_target_pairs={{0,1},{1,0}}
}
"""


def test_every_kind_is_counted_as_often_as_it_runs():
    assert read_collectives(PROGRAM, devices=8) == {
        "all-gather": Traffic(1, 1024.0, 768.0),
        "all-reduce": Traffic(13, 12 * 4096.0 + 1024.0, 12 * 4096.0 + 1536.0),
        "all-to-all": Traffic(24, 24 * 32.0, 24 * 28.0),
        "collective-permute": Traffic(1, 40.0, 40.0),
        "reduce-scatter": Traffic(1, 2048.0, 1792.0),
    }


def test_a_gradient_over_four_devices_is_one_all_reduce_of_its_size():
    mesh = create_mesh({"data": 4}, jax.devices()[:4])
    w = jax.ShapeDtypeStruct((64, 32), jnp.float32, sharding=NamedSharding(mesh, P()))
    x = jax.ShapeDtypeStruct((8, 64), jnp.float32, sharding=NamedSharding(mesh, P("data")))
    step = jax.jit(
        jax.grad(lambda w, x: jnp.sum(jnp.tanh(x @ w))), out_shardings=NamedSharding(mesh, P())
    )
    size = 64 * 32 * 4.0
    traffic = read_collectives(step.lower(w, x).compile().as_text(), devices=4)
    assert traffic == {"all-reduce": Traffic(1, size, 2 * 3 / 4 * size)}


def test_a_loop_that_sends_and_does_not_say_how_often_is_no_figure():
    program = PROGRAM.replace("constant(24)", "parameter(1)")
    with pytest.raises(ValueError, match="a loop that sends does not say how often it turns"):
        read_collectives(program, devices=8)
