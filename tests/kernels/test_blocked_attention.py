"""Attention of few rows at a time is einsum's, and holds no array of all rows' scores."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.kernels import blocked_attention
from bert_jax.kernels.attention import AttentionMask, attend_plainly, within_instances
from bert_jax.kernels.compute import Compute
from bert_jax.kernels.cpu_products import CPU, CPU_AT_WORK
from bert_jax.kernels.products import PLAIN

ROWS, LENGTH, HEADS = 6, 20, 3
_keys = jax.random.split(jax.random.key(0), 4)
QUERY, KEY, VALUE = (jax.random.normal(k, (ROWS, LENGTH, HEADS, 8)) for k in _keys[:3])
IDS = jnp.sort(jax.random.randint(_keys[3], (ROWS, LENGTH), 0, 4), axis=1)[:, ::-1]
MASKS = {
    "nothing": None,
    "padding": within_instances(IDS > 0),
    "packed rows": within_instances(IDS),
    "one for all rows": AttentionMask(jnp.tri(LENGTH, dtype=bool)[None, None], None),
}


@pytest.mark.parametrize("at_once", [1, 4])
@pytest.mark.parametrize("mask", MASKS)
def test_blocks_are_einsum(monkeypatch, at_once, mask):
    monkeypatch.setattr(blocked_attention, "_SCORES_AT_ONCE", at_once * HEADS * LENGTH**2)
    arguments = QUERY, KEY, VALUE, MASKS[mask], 0.1, None
    np.testing.assert_allclose(
        blocked_attention.attend(*arguments), attend_plainly(*arguments), rtol=0, atol=1e-6
    )


def test_no_array_of_all_scores(monkeypatch):
    monkeypatch.setattr(blocked_attention, "_SCORES_AT_ONCE", 2 * HEADS * LENGTH**2)
    found = {}
    for attend in (attend_plainly, blocked_attention.attend):
        run = jax.jit(lambda q, k, v, attend=attend: attend(q, k, v, MASKS["padding"], 0.0, None))
        shapes = re.findall(r"f32\[([\d,]+)\]", run.lower(QUERY, KEY, VALUE).compile().as_text())
        sizes = {int(np.prod([int(n) for n in shape.split(",")])) for shape in shapes}
        found[attend] = ROWS * HEADS * LENGTH**2 in sizes
    assert found == {attend_plainly: True, blocked_attention.attend: False}


def test_dropout_is_refused_and_chosen_products_stay():
    with pytest.raises(UserError, match="with blocked attention, which drops no"):
        blocked_attention.attend(QUERY, KEY, VALUE, None, 0.1, jnp.zeros(2, jnp.uint32))
    assert Compute(products=CPU).at_work().products == CPU_AT_WORK
    assert Compute(products=PLAIN).at_work().products == PLAIN
