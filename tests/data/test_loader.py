import dataclasses
import gc
import pickle
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.data.documents import Documents
from bert_jax.data.instances import plan_sentences
from bert_jax.data.loader import Batches, HeldoutBatches, Phase, RowSettings, phase_ends
from bert_jax.data.masking import MASKINGS, Masking
from bert_jax.data.row_layout import Batch
from bert_jax.errors import UserError
from tests.data.synthetic import SmallVocabulary, corpora, document_of, random_documents
from tests.data.test_masking import unmasked

VOCABULARY = SmallVocabulary(100)
TWO_PHASES = (Phase(32, 0.75), Phase(64, 0.25))


def make(documents: Documents | None = None, *, seed: int = 0, steps: int = 40, **changes):
    arguments = {"phases": TWO_PHASES, "settings": RowSettings(8, max_instances=2)}
    arguments.update(changes)
    if documents is None:
        documents = random_documents(12, 5)
    return Batches(documents, VOCABULARY, seed=seed, steps=steps, **arguments)


def assert_same(first: Batch, second: Batch) -> None:
    assert list(first) == list(second)
    for name, array in first.items():
        assert array.dtype == second[name].dtype
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def instances_of(batch: Batch) -> list[tuple[tuple[int, ...], tuple[int, ...], int]]:
    """Return (A, B, label) of every instance of a batch, from its arrays alone."""
    ids = unmasked(batch)
    found = []
    for b in range(len(ids)):
        for slot in np.flatnonzero(batch["next_weights"][b]):
            inside = batch["instance_ids"][b] == slot + 1
            tokens, types = ids[b][inside], batch["token_type_ids"][b][inside]
            assert tokens[0] == VOCABULARY.cls_id
            assert tokens[types == 0][-1] == tokens[-1] == VOCABULARY.sep_id
            a, part_b = tokens[types == 0][1:-1], tokens[types == 1][:-1]
            found.append((tuple(a), tuple(part_b), int(batch["next_labels"][b, slot])))
    return found


def planned_instances(documents: Documents, plan) -> list[tuple]:
    def span(start, length):
        return tuple(documents.pieces[start : start + length])

    return [
        (
            span(plan.a_start[i], plan.a_length[i]),
            span(plan.b_start[i], plan.b_length[i]),
            int(plan.is_random[i]),
        )
        for i in range(len(plan))
    ]


def test_names_types_and_shapes_of_a_batch():
    batch = make(settings=RowSettings(8, max_instances=3))[0]
    assert {name: (array.dtype.name, array.shape) for name, array in batch.items()} == {
        "input_ids": ("int32", (8, 32)),
        "token_type_ids": ("int32", (8, 32)),
        "position_ids": ("int32", (8, 32)),
        "instance_ids": ("int32", (8, 32)),
        "masked_positions": ("int32", (8, 8)),
        "masked_labels": ("int32", (8, 8)),
        "masked_weights": ("float32", (8, 8)),
        "cls_positions": ("int32", (8, 3)),
        "next_labels": ("int32", (8, 3)),
        "next_weights": ("float32", (8, 3)),
    }


@settings(max_examples=30, deadline=None)
@given(corpora(), st.integers(1, 4), st.integers(8, 64), st.booleans())
def test_an_epochs_rows_are_the_planned_instances(documents, max_instances, length, whole_word):
    row_settings = RowSettings(1, max_instances, masking=Masking(whole_word=whole_word))
    batches = make(documents, steps=300, phases=[Phase(length, 1.0)], settings=row_settings)
    planned = batches.plan_epoch(0, 0)
    assert batches.steps_per_epoch(0) == len(planned)
    steps = range(min(len(planned), 300))
    restored = [instance for step in steps for instance in instances_of(batches[step])]
    assert sorted(restored) == sorted(planned_instances(documents, planned.plan))


@settings(max_examples=30, deadline=None)
@given(corpora(), st.integers(1, 4))
def test_layout_and_padding_are_consistent(documents, max_instances):
    batch = make(documents, settings=RowSettings(8, max_instances))[0]
    for b in range(8):
        ids = batch["instance_ids"][b]
        real = int(np.count_nonzero(ids))
        assert (ids[:real] > 0).all()
        assert (np.diff(ids[:real]) >= 0).all()  # 1 1 1 2 2 3 … then padding
        count = int(batch["next_weights"][b].sum())
        assert set(ids[:real].tolist()) == set(range(1, count + 1))
        begins = np.flatnonzero(np.diff(ids[:real], prepend=0))
        assert batch["cls_positions"][b].tolist() == begins.tolist() + [0] * (max_instances - count)
        lengths = np.diff([*begins, real])
        expected = np.concatenate([np.arange(n) for n in lengths])
        np.testing.assert_array_equal(batch["position_ids"][b, :real], expected)
        for name in ("input_ids", "token_type_ids", "position_ids"):
            assert not batch[name][b, real:].any()  # [PAD] has id 0
        assert not batch["next_labels"][b, count:].any()
        np.testing.assert_array_equal(unmasked(batch)[b][begins], VOCABULARY.cls_id)


def test_negatives_come_from_another_document():
    documents = random_documents(30, 20)
    plan = make(documents).plan_epoch(0, 0).plan
    a, b = document_of(documents, plan.a_start), document_of(documents, plan.b_start)
    np.testing.assert_array_equal(a != b, plan.is_random)
    labels = np.concatenate([[x[2] for x in instances_of(batch)] for batch in make(documents)])
    assert 0.3 < labels.mean() < 0.7


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(40)), st.integers(0, 5))
def test_batches_do_not_depend_on_the_order_they_are_asked_for(order, seed):
    documents = random_documents(6, 4, seed=1)  # several epochs in 40 steps
    in_order = list(make(documents, seed=seed))
    batches = make(documents, seed=seed)
    for step in order:
        assert_same(batches[step], in_order[step])


def test_steps_fall_into_phases_and_epochs():
    batches = make(random_documents(6, 4, seed=1))
    assert len(batches) == 40
    lengths = [batch["input_ids"].shape for batch in batches]
    assert lengths == [(8, 32)] * 30 + [(8, 64)] * 10
    assert batches.phase_of(29) == TWO_PHASES[0]
    assert batches.phase_of(30) == TWO_PHASES[1]
    per_epoch = batches.steps_per_epoch(0)
    assert per_epoch == len(batches.plan_epoch(0, 0)) // 8
    assert [batches.epoch_of(s) for s in (0, per_epoch - 1, per_epoch, 29, 30)] == [
        0,
        0,
        1,
        29 // per_epoch,
        0,
    ]


def test_epochs_phases_and_seeds_differ():
    documents = random_documents(30, 10)
    one_length = (Phase(32, 0.5), Phase(32, 0.5))
    batches = make(documents, steps=400, phases=one_length)
    per_epoch = batches.steps_per_epoch(0)
    assert 1 < per_epoch < 200
    first = batches[0]["input_ids"]
    for other in (
        batches[per_epoch],
        batches[200],
        make(documents, steps=400, phases=one_length, seed=1)[0],
    ):
        assert (first != other["input_ids"]).any()


def test_a_corpus_smaller_than_a_batch_repeats_its_rows_under_other_masks():
    documents = random_documents(2, 2, mean_length=30)
    row_settings = RowSettings(64)
    batches = make(documents, phases=[Phase(64, 1.0)], settings=row_settings)
    rows = len(batches.plan_epoch(0, 0))
    assert rows < 16
    batch = batches[0]
    assert batches.steps_per_epoch(0) == 1
    np.testing.assert_array_equal(unmasked(batch)[:rows], unmasked(batch)[rows : 2 * rows])
    assert (batch["masked_positions"][:rows] != batch["masked_positions"][rows : 2 * rows]).any()


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_hosts_make_the_same_global_batch(hosts):
    whole = make()
    rows = 8 // hosts
    parts = [make(host_rows=slice(h * rows, (h + 1) * rows)) for h in range(hosts)]
    for step in (0, 13, 39):
        joined = {
            name: np.concatenate([part[step][name] for part in parts]) for name in whole[step]
        }
        assert_same(joined, whole[step])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 40), st.integers(1, 3), st.integers(1, 5))
def test_resuming_at_any_step_equals_never_stopping(start, threads, buffer):
    batches = make()
    resumed = list(make().iterate(start, threads=threads, buffer=buffer))
    assert len(resumed) == 40 - start
    for step, batch in enumerate(resumed, start):
        assert_same(batch, batches[step])


def test_threads_end_with_the_iterator():
    before = threading.active_count()
    iterator = make().iterate(threads=2)
    next(iterator)
    assert threading.active_count() > before
    iterator.close()
    dropped = make().iterate(threads=2)
    next(dropped)
    del dropped
    gc.collect()
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_batches_are_made_by_many_threads_at_once_alike():
    expected = list(make())
    batches = make()  # nothing planned yet: the threads race for it
    found: dict[int, Batch] = {}

    def work(steps):
        for step in steps:
            found[step] = batches[step]

    threads = [threading.Thread(target=work, args=(range(i, 40, 4),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for step in range(40):
        assert_same(found[step], expected[step])


def test_errors_in_the_background_reach_the_reader():
    iterator = make(random_documents(1, 5)).iterate()
    with pytest.raises(UserError, match="expected at least 2"):
        next(iterator)


def test_resuming_plans_two_epochs_however_late(monkeypatch):
    batches = make(steps=10**6, phases=[Phase(32, 1.0)])
    planned = []
    plan_epoch = batches.plan_epoch

    def counting(phase_index, epoch):
        planned.append(epoch)
        return plan_epoch(phase_index, epoch)

    monkeypatch.setattr(batches, "plan_epoch", counting)
    batches[999_999]
    assert planned == [0, batches.epoch_of(999_999)]


def test_wide_and_narrow_pieces_make_the_same_batches():
    documents = random_documents(12, 5)
    wide = dataclasses.replace(documents, pieces=documents.pieces.astype(np.int32))
    assert_same(make(wide)[3], make(documents)[3])


def test_batches_travel_to_a_worker_with_the_documents_by_path_and_no_plans(tmp_path):
    documents = random_documents(200, 50)
    for name in ("pieces", "sentence_starts", "document_starts"):
        np.save(tmp_path / name, getattr(documents, name))
    batches = make(Documents.load(tmp_path))
    expected = batches[5]
    sent = pickle.dumps(batches)
    assert len(sent) < 10_000 < documents.pieces.nbytes
    assert_same(pickle.loads(sent)[5], expected)
    assert_same(pickle.loads(pickle.dumps(make(documents)))[5], expected)


@settings(max_examples=20, deadline=None)
@given(corpora(), st.integers(1, 9), st.integers(1, 3))
def test_held_out_batches_hold_every_instance_once(documents, batch_size, max_instances):
    row_settings = RowSettings(batch_size, max_instances)
    held_out = HeldoutBatches(documents, VOCABULARY, length=32, settings=row_settings)
    batches = list(held_out)
    assert all(batch["input_ids"].shape == (batch_size, 32) for batch in batches)
    found = sorted(instance for batch in batches for instance in instances_of(batch))
    # The plan of seed 0 and epoch 0, straight from the planner.
    from bert_jax.data.instances import plan_instances

    assert found == sorted(planned_instances(documents, plan_instances(documents, 32, 0, 0)))
    for batch in batches:
        padding = (batch["instance_ids"] == 0).all(axis=1)
        for name in ("masked_weights", "next_weights", "input_ids", "cls_positions"):
            assert not batch[name][padding].any()


def test_held_out_batches_are_fixed_and_can_be_fewer():
    documents = random_documents(12, 5)
    row_settings = RowSettings(4)
    whole = HeldoutBatches(documents, VOCABULARY, length=32, settings=row_settings)
    assert len(whole) > 3
    few = HeldoutBatches(documents, VOCABULARY, length=32, settings=row_settings, max_batches=3)
    assert len(few) == 3
    for step in range(3):
        assert_same(few[step], whole[step])
    half = HeldoutBatches(
        documents, VOCABULARY, length=32, settings=row_settings, host_rows=slice(2, 4)
    )
    last = len(whole) - 1
    assert_same({name: array[2:] for name, array in whole[last].items()}, half[last])
    assert_same(next(whole.iterate(last)), whole[last])
    assert_same(pickle.loads(pickle.dumps(whole))[last], whole[last])


def test_steps_out_of_range_and_mistakes_are_named():
    batches = make()
    for step in (-1, 40):
        with pytest.raises(IndexError, match=f"step {step}"):
            batches[step]
    with pytest.raises(ValueError, match="start=41"):
        batches.iterate(41)
    with pytest.raises(UserError, match="0 steps"):
        make(steps=0)
    with pytest.raises(UserError, match="add up to 1"):
        make(phases=[Phase(32, 0.5), Phase(64, 0.4)])
    with pytest.raises(UserError, match="batch_size=0"):
        RowSettings(0)
    with pytest.raises(UserError, match="max_batches=0"):
        HeldoutBatches(
            random_documents(3, 3), VOCABULARY, length=32, settings=RowSettings(2), max_batches=0
        )


def test_phase_ends():
    assert phase_ends([Phase(128, 0.9), Phase(512, 0.1)], 1000) == (900, 1000)
    assert phase_ends([Phase(128, 1.0)], 7) == (7,)
    assert phase_ends([Phase(128, 1 / 3)] * 3, 10) == (3, 7, 10)


PLAIN_SPANS = RowSettings(
    8,
    max_instances=3,
    masking=dataclasses.replace(MASKINGS["span"], rate=0.3, final_rate=0.15),
    plan=plan_sentences,
)


def test_plain_text_is_one_segment_without_a_question():
    documents = random_documents(12, 5)
    for batch in make(documents, settings=PLAIN_SPANS):
        ids = unmasked(batch)
        for b in range(8):
            instances = batch["instance_ids"][b]
            count = instances.max()
            assert (ids[b] == VOCABULARY.cls_id).sum() == count
            assert (ids[b] == VOCABULARY.sep_id).sum() == count
            for slot in range(count):
                tokens = ids[b][instances == slot + 1]
                assert tokens[0] == VOCABULARY.cls_id
                assert tokens[-1] == VOCABULARY.sep_id
        for name in ("token_type_ids", "next_labels", "next_weights"):
            assert not batch[name].any()


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 40), st.sampled_from([1, 2, 4]))
def test_plain_text_under_moving_spans_is_a_function_of_the_step(start, hosts):
    whole = list(make(settings=PLAIN_SPANS))
    rows = 8 // hosts
    parts = [
        make(settings=PLAIN_SPANS, host_rows=slice(h * rows, (h + 1) * rows)).iterate(start)
        for h in range(hosts)
    ]
    for step, batches in enumerate(zip(*parts, strict=True), start):
        joined = {name: np.concatenate([b[name] for b in batches]) for name in whole[step]}
        assert_same(joined, whole[step])


def test_held_out_rates_are_those_of_the_runs_end():
    held_out = HeldoutBatches(
        random_documents(100, 30), VOCABULARY, length=64, settings=PLAIN_SPANS
    )
    masked = sum(batch["masked_weights"].sum() for batch in held_out)
    real = sum(np.count_nonzero(batch["instance_ids"]) for batch in held_out)
    assert 0.14 < masked / real < 0.155
    assert held_out[0]["masked_weights"].shape == (8, 20)
