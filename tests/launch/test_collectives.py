"""What devices send each other, from a program written by hand and from one that is compiled."""

import jax
import jax.numpy as jnp
import optax
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from bert_jax.parameters import token_table
from bert_jax.training.assembly import assemble_pretrainer
from bert_jax.training.sharding import create_mesh, put_batch
from launch.collectives import Traffic, total_traffic
from launch.hlo import parse_hlo
from launch.schedule import collectives, schedule
from tests.training.examples import batches, tiny_config

# A loop of 12 turns with an all-reduce of 4 KiB over pairs; outside, one of each other kind.
PROGRAM = """HloModule jit_step, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%a, %b)
}

%body (p: (s32[], f32[1024])) -> (s32[], f32[1024]) {
  %p = (s32[], f32[1024]{0}) parameter(0)
  %x = f32[1024]{0} get-tuple-element(%p), index=1
  %all-reduce.1 = f32[1024]{0} all-reduce(%x), replica_groups=[4,2]<=[8], to_apply=%add
}

%condition (p: (s32[], f32[1024])) -> pred[] {
  %n = s32[] parameter(0)
  ROOT %less = pred[] compare(%n, %n), direction=LT
}

%sends (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p = (s32[], f32[8]{0}) parameter(0)
  %x = f32[8]{0} get-tuple-element(%p), index=1
  %all-to-all.1 = f32[8]{0:T(128)} all-to-all(%x), replica_groups={}, dimensions={0}
}

%until (p: (s32[], f32[8])) -> pred[] {
  %constant.1.clone = s32[]{:T(128)} constant(24)
  %p = (s32[], f32[8]{0}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  ROOT %lt.1 = pred[]{:T(512)} compare(%i, %constant.1.clone), direction=LT, metadata={a="b"}
}

ENTRY %main (y: f32[1024]) -> f32[1024] {
  %y = f32[1024]{0} parameter(0)
  %t = (s32[], f32[1024]{0}) tuple(%y, %y)
  %u = (s32[], f32[8]{0}) tuple(%y, %y)
  %while.1 = (s32[], f32[1024]{0}) while(%t), condition=%condition, body=%body, \
backend_config={"known_trip_count":{"n":"12"}}
  %while.2 = (s32[], f32[8]{0}) while(%u), condition=%until, body=%sends
  %all-gather-start = (bf16[128]{0}, bf16[512]{0}) all-gather-start(%y), \
replica_groups={{0,1,2,3},{4,5,6,7}}, dimensions={0}
  %all-gather-done = bf16[512]{0} all-gather-done(%all-gather-start)
  %reduce-scatter = f32[64]{0} reduce-scatter(%y), replica_groups={}, to_apply=%add
  %all-reduce-start = ((f32[256]{0}), f32[256]{0}) all-reduce-start(%y), \
replica_groups=mesh['data'=2,'fsdp'=4] {'fsdp'}, to_apply=%add
  %all-reduce-done = f32[256]{0} all-reduce-done(%all-reduce-start)
  %permute = f32[10]{0} collective-permute(%y), source_target_pairs={{0,1},{1,0}}
}
"""


def read_collectives(hlo, devices):
    return total_traffic(collectives(schedule(parse_hlo(hlo))), devices)


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
    with pytest.raises(ValueError, match=r"a loop does not say how many times it runs: while\.2"):
        read_collectives(program, devices=8)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_gradient_of_a_tied_table_is_sent_once(accumulate):
    """And with microbatches once for all of them, as no other gradient is."""
    run = assemble_pretrainer(
        tiny_config(vocab_size=1000), create_mesh({"data": 2}, jax.devices()[:2]),
        optax.adamw(1e-3), lambda count: 1e-3,
        seed=0, batch_size=8, accumulate=accumulate,
    )  # fmt: skip
    batch = put_batch(batches()[0], run.mesh)
    compiled = run.train_step.lower(run.abstract_state, batch).compile()
    sent = read_collectives(compiled.as_text(), 2)
    params = run.saved_state.params
    table = 4 * token_table(params).size
    others = 4 * sum(leaf.size for leaf in jax.tree.leaves(params)) - table
    scalars = 200  # losses and counts
    assert set(sent) == {"all-reduce"}
    payload = sent["all-reduce"].payload
    assert table + accumulate * others <= payload < table + accumulate * (others + scalars)
