import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.data.instances import InstancePlan, plan_instances
from bert_jax.data.packing import PackedInstances, first_fit, pack_instances
from bert_jax.errors import UserError
from tests.data.synthetic import random_documents


def plan_of(totals: list[int], length: int) -> InstancePlan:
    n = len(totals)
    spans = np.zeros(n, np.int64), np.array(totals, np.int32) - 4, np.zeros(n, np.int64)
    return InstancePlan(length, *spans, np.ones(n, np.int32), np.zeros(n, bool))


def as_lists(rows: PackedInstances) -> list[list[int]]:
    return [part.tolist() for part in np.split(rows.instances, rows.starts[1:-1])]


def plain_first_fit(lengths: list[int], row_length: int, max_instances: int) -> list[int]:
    rows: list[list[int]] = []
    row_of = []
    for length in lengths:
        room = [sum(row) + length <= row_length and len(row) < max_instances for row in rows]
        number = room.index(True) if any(room) else len(rows)
        if number == len(rows):
            rows.append([])
        rows[number].append(length)
        row_of.append(number)
    return row_of


def test_the_drawn_example():
    lengths = np.array([50, 60, 70, 40, 30], np.int32)
    assert first_fit(lengths, 128, 2).tolist() == [0, 0, 1, 1, 2]
    assert first_fit(lengths, 150, 3).tolist() == [0, 0, 1, 0, 1]
    assert first_fit(lengths, 128, 1).tolist() == [0, 1, 2, 3, 4]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(5, 64), max_size=60), st.integers(2, 6))
def test_packing_isfirst_fit_with_the_rows_shuffled(totals, max_instances):
    rows = as_lists(pack_instances(plan_of(totals, 64), 64, max_instances)) if totals else []
    row_of = plain_first_fit(totals, 64, max_instances)
    expected = [[] for _ in set(row_of)]
    for instance, row in enumerate(row_of):
        expected[row].append(instance)
    assert sorted(rows) == sorted(expected)


def test_one_instance_a_row_keeps_the_plans_order():
    rows = pack_instances(plan_of([9, 8, 7], 16), 16)
    assert as_lists(rows) == [[0], [1], [2]]
    assert len(rows) == 3


def test_nothing_packs_into_no_rows():
    assert len(pack_instances(plan_of([], 16), 16, 4)) == 0


def test_packed_rows_of_512_are_more_than_97_per_cent_full():
    for mean_sentences in (6, 30, 1000):
        documents = random_documents(int(60000 / mean_sentences), mean_sentences)
        plan = plan_instances(documents, 512, 0, 0)
        rows = pack_instances(plan, 512, max_instances=32)
        assert sorted(rows.instances.tolist()) == list(range(len(plan)))
        assert plan.total_lengths.sum() / (512 * len(rows)) > 0.97


def test_early_rows_are_like_late_rows():
    # First-fit puts the short instances that come late into the early rows.
    rows = pack_instances(plan_instances(random_documents(5000, 10), 128, 0, 0), 128, 8)
    instances = np.diff(rows.starts)
    halves = instances[: len(rows) // 2].mean(), instances[len(rows) // 2 :].mean()
    assert abs(halves[0] - halves[1]) < 0.1


def test_packing_is_deterministic():
    plan = plan_instances(random_documents(100, 10), 128, 0, 0)
    first, again = (as_lists(pack_instances(plan, 128, 8)) for _ in range(2))
    assert first == again


def test_mistakes_are_named():
    with pytest.raises(UserError, match="rows of 15 tokens for instances of up to 16"):
        pack_instances(plan_of([9], 16), 15)
    with pytest.raises(UserError, match="max_instances=0"):
        pack_instances(plan_of([9], 16), 16, 0)
