import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.parameters import token_table
from bert_jax.training.assembly import assemble_pretrainer
from bert_jax.training.optimizers import create_optimizer
from bert_jax.training.sharding import create_mesh, put_batch
from bert_jax.training.update_audit import (
    ABSENT_SEEN,
    ABSENT_UNSEEN,
    CLASSES,
    INPUT,
    LABEL_SEEN,
    NEVER,
    Presence,
    audit_summary,
    changed_rows,
    new_audit,
    observe,
    presence,
    updates_per_row,
)
from tests.training.examples import Pieces, batches, tiny_config

MASK = 4


def test_presence_of_a_batch_by_hand():
    batch = {
        "input_ids": jnp.array([[2, MASK, 9, 7, 6, 3, 0, 0]]),
        "instance_ids": jnp.array([[1, 1, 1, 1, 1, 1, 0, 0]]),
        # masked, replaced by 9, kept, and a slot that is not used
        "masked_positions": jnp.array([[1, 2, 3, 0]]),
        "masked_labels": jnp.array([[8, 5, 7, 11]]),
        "masked_weights": jnp.array([[1.0, 1.0, 1.0, 0.0]]),
    }
    present = presence(batch, 12, MASK)
    assert np.flatnonzero(present.as_input).tolist() == [2, 3, 4, 6, 7, 9]  # no padding
    assert np.flatnonzero(present.as_label).tolist() == [5, 7, 8]
    assert np.flatnonzero(present.as_replacement).tolist() == [9]


def test_a_row_changed_if_one_bit_did():
    before = jnp.array([[1.0, 0.0], [1.0, 0.0], [1.0, jnp.nan], [1.0, 2.0]])
    after = jnp.array([[1.0, 0.0], [1.0, -0.0], [1.0, jnp.nan], [1.0, 2.0 + 2**-22]])
    assert changed_rows(before, after).tolist() == [False, True, False, True]


def rows(*ids):
    return jnp.zeros(6, bool).at[jnp.array(ids, int)].set(True)


def test_three_steps_by_hand():
    none = rows()
    tables = [jnp.zeros((6, 2))]
    tables.append(tables[0].at[0].set(jnp.array([3.0, 4.0])))  # row 0 moves by 5
    tables.append(tables[1].at[0].add(1.0).at[1].add(1.0))  # rows 0, 1 by √2
    tables.append(tables[2].at[0].add(1.0).at[2].add(1.0))  # rows 0, 2
    held = [
        Presence(rows(0), rows(1), none),
        Presence(rows(1, 3), rows(0, 1), rows(3)),
        Presence(rows(4), none, none),
    ]
    audit = new_audit(6)
    for before, after, present in zip(tables, tables[1:], held, strict=False):
        audit = observe(audit, before, after, present)
    spent = np.zeros((5, 6), int)
    changed, moved = spent.copy(), np.zeros((5, 6))
    #            step 1                2                       3
    for step in (
        ([0], [], [1], [], [2, 3, 4, 5]),
        ([1, 3], [0], [], [], [2, 4, 5]),
        ([4], [], [], [0, 1, 3], [2, 5]),
    ):
        for which, members in enumerate(step):
            spent[which, members] += 1
    changed[[INPUT, INPUT, LABEL_SEEN, ABSENT_SEEN, ABSENT_UNSEEN], [0, 1, 0, 0, 2]] = 1
    moved[changed == 1] = np.sqrt(2)
    moved[INPUT, 0] = 5
    np.testing.assert_array_equal(audit.spent, spent)
    np.testing.assert_array_equal(audit.changed, changed)
    np.testing.assert_allclose(audit.moved, moved, rtol=1e-6)
    assert audit.first_seen.tolist() == [1, 2, NEVER, 2, 3, NEVER]
    assert audit.first_changed.tolist() == [1, 2, 3, NEVER, NEVER, NEVER]
    assert audit.as_label.tolist() == [1, 2, 0, 0, 0, 0]
    assert audit.as_replacement.tolist() == [0, 0, 0, 1, 0, 0]
    summary = audit_summary(audit, np.asarray(tables[-1]), np.asarray(tables[0]))
    assert summary["rows_seen"] == 4
    assert summary["rows_changed"] == 3
    assert summary["changed_share"] == pytest.approx(5 / 18)
    assert summary["in_batch_share"] == pytest.approx(4 / 18)
    assert summary["absent_unseen_share"] == pytest.approx(1 / 9)
    assert summary["label_unseen_share"] == 0
    assert summary["input_moved"] == pytest.approx((5 + np.sqrt(2)) / 4)
    assert summary["unseen_drift"] == pytest.approx(np.sqrt(2) / 2)
    assert json.loads(json.dumps(summary)) == summary


def test_updates_per_row_of_known_counts():
    found = updates_per_row(np.array([0, 0, 3, *range(4, 21)]))  # 20 rows
    assert (found.median, found.fifth_percentile, found.never) == (10, 0, 0.1)
    assert updates_per_row(np.arange(1, 101)).fifth_percentile == 5


def train(name, tied, weight_decay=0.1, steps=4, devices=1, audit=True):
    mesh = create_mesh({"data": devices}, jax.devices()[:devices])
    run = assemble_pretrainer(
        tiny_config(vocab_size=200, tie_word_embeddings=tied),  # rows 96 … 199 are in no batch
        mesh,
        create_optimizer(name, lambda count: 0.01, weight_decay),
        lambda count: 0.01,
        seed=0,
        batch_size=8,
        row_lazy=name == "row_lazy_adamw" and not tied,
        audit_mask_id=Pieces.mask_id if audit else None,
    )
    state = run.initial_state()
    initial = np.asarray(token_table(state.params))
    for i in range(steps):
        state, _ = run.train_step(state, put_batch(batches()[i], mesh))
    return state, initial


# What each class changes in: share of its row-steps, in the order of `CLASSES`.
EXPECTED = {
    ("sgd", 0.0, False): (1, 0, 0, 0, 0),
    ("adamw", 0.0, False): (1, 1, 0, 1, 0),  # momentum: what was seen goes on moving
    ("adamw", 0.1, False): (1, 1, 1, 1, 1),  # weight decay: everything shrinks
    ("lamb", 0.1, False): (1, 1, 1, 1, 1),
    ("row_lazy_adamw", 0.1, False): (1, 0, 0, 0, 0),  # the sentence is true
    ("sgd", 0.0, True): (1, 1, 1, 1, 1),  # the decoder's gradient reaches every row
    ("row_lazy_adamw", 0.1, True): (1, 1, 1, 1, 1),
}


@pytest.mark.parametrize("case", EXPECTED)
def test_what_changes_rows_that_the_batch_does_not_hold(case):
    name, weight_decay, tied = case
    state, initial = train(name, tied, weight_decay)
    summary = audit_summary(state.opt_state.audit, token_table(state.params), initial)
    found = [summary[f"{which}_share"] for which in CLASSES]
    assert all(got in (None, share) for got, share in zip(found, EXPECTED[case], strict=True))
    assert None not in (found[INPUT], found[ABSENT_SEEN], found[ABSENT_UNSEEN])
    assert (summary["unseen_drift"] == 0) == (EXPECTED[case][ABSENT_UNSEEN] == 0)


def test_rows_never_seen_shrink_by_the_weight_decay_alone():
    state, initial = train("adamw", tied=False, weight_decay=0.1)
    table = np.asarray(token_table(state.params))
    unseen = np.asarray(state.opt_state.audit.first_seen) == NEVER
    assert unseen.sum() >= 104
    np.testing.assert_allclose(table[unseen], initial[unseen] * (1 - 0.01 * 0.1) ** 4, rtol=1e-5)


def test_an_audit_changes_nothing_and_is_the_same_on_eight_devices():
    plain, _ = train("adamw", tied=True, audit=False)
    watched, _ = train("adamw", tied=True)
    jax.tree.map(np.testing.assert_array_equal, watched.params, plain.params)
    spread, _ = train("adamw", tied=True, devices=8)
    one, eight = (dataclasses.asdict(s.opt_state.audit) for s in (watched, spread))
    for name in one:
        np.testing.assert_allclose(eight[name], one[name], rtol=0.05 if name == "moved" else 0)
