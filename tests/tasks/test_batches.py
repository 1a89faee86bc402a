import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.data.lengths import choose_lengths
from bert_jax.data.row_layout import (
    Rows,
    collect_sequences,
    collect_tokens,
    lay_out,
    length_for,
    sorted_rows,
)
from bert_jax.errors import UserError
from bert_jax.tasks.batches import TrainingBatches, packed_rows
from bert_jax.tasks.features import NO_LABEL, Features
from bert_jax.tasks.heads import sequence_labels
from bert_jax.tasks.multiple_choice import choice_labels
from bert_jax.tasks.question_answering.task import span_labels
from bert_jax.tasks.tagging import token_labels


def features_of_lengths(lengths, labels=None, unit_starts=None):
    """Sequences whose token t of all T has the id t + 10."""
    total = sum(lengths)
    return Features(
        np.arange(total, dtype=np.int32) + 10,
        (np.arange(total) % 2).astype(np.int8),
        np.concatenate([[0], np.cumsum(lengths)]),
        np.arange(len(lengths), dtype=np.int32) if labels is None else labels,
        np.arange(len(lengths) + 1) if unit_starts is None else unit_starts,
    )


LENGTHS = st.lists(st.integers(3, 20), min_size=1, max_size=40)


def test_layout_by_hand():
    features = features_of_lengths([3, 4, 2])
    batch = lay_out(features, Rows(np.array([[2, 0], [1, -1]]), 6), pad_id=7)
    assert batch["input_ids"].tolist() == [[17, 18, 10, 11, 12, 7], [13, 14, 15, 16, 7, 7]]
    assert batch["token_type_ids"].tolist() == [[1, 0, 0, 1, 0, 0], [1, 0, 1, 0, 0, 0]]
    assert batch["position_ids"].tolist() == [[0, 1, 0, 1, 2, 0], [0, 1, 2, 3, 0, 0]]
    assert batch["instance_ids"].tolist() == [[1, 1, 2, 2, 2, 0], [1, 1, 1, 1, 0, 0]]
    assert batch["cls_positions"].tolist() == [[0, 2], [0, 0]]


def test_labels_by_hand():
    rows = Rows(np.array([[2, 0], [1, -1]]), 6)
    labelled = sequence_labels(features_of_lengths([3, 4, 2]), rows)
    assert labelled["labels"].tolist() == [[2, 0], [1, 0]]
    assert labelled["weights"].tolist() == [[1, 1], [1, 0]]
    tags = np.array([-1, 5, -1, -1, 6, 7, -1, 8, -1], np.int32)
    labelled = token_labels(features_of_lengths([3, 4, 2], tags), rows)
    assert labelled["labels"].tolist() == [[8, 0, 0, 5, 0, 0], [0, 6, 7, 0, 0, 0]]
    assert labelled["weights"].tolist() == [[1, 0, 0, 1, 0, 0], [0, 1, 1, 0, 0, 0]]
    assert labelled["share"].tolist() == [0.75, 0.75]  # 4 labels, where 4 places have 4 / 3 each
    spans = np.array([[1, 2], [0, 0], [1, 1]], np.int32)
    labelled = span_labels(features_of_lengths([3, 4, 2], spans), rows)
    assert labelled["first_labels"].tolist() == [[1, 3], [0, 0]]
    assert labelled["last_labels"].tolist() == [[1, 4], [0, 0]]
    right = np.array([0, 1, 1], np.float32)
    labelled = choice_labels(
        features_of_lengths([3, 4, 2], right), Rows(np.array([[0], [1], [2], [-1]]), 6), 2
    )
    assert labelled["labels"].ravel().tolist() == [0, 1, 1, 0]
    assert labelled["choices"].ravel().tolist() == [1, 1, 1, 0]
    assert labelled["weights"].ravel().tolist() == [1, 0, 1, 0]


@given(LENGTHS, st.integers(1, 5), st.booleans())
@settings(deadline=None)
def test_what_goes_in_comes_out_in_order(lengths, batch_rows, packed):
    features = features_of_lengths(lengths)
    rows = (
        packed_rows(features, batch_rows, 32) if packed else sorted_rows(features, batch_rows, ())
    )
    placed = np.sort(np.concatenate([r.sequences.ravel() for r in rows]))
    assert placed[placed >= 0].tolist() == list(range(len(lengths)))
    assert {len(r.sequences) for r in rows} == {batch_rows}
    batches = [lay_out(features, r, 0) for r in rows]
    tokens = {i: b["input_ids"] for i, b in enumerate(batches)}
    np.testing.assert_array_equal(collect_tokens(features, tokens, rows), features.ids)
    at_cls = {
        i: np.take_along_axis(b["input_ids"], b["cls_positions"], 1) for i, b in enumerate(batches)
    }
    np.testing.assert_array_equal(
        collect_sequences(features, at_cls, rows), features.ids[features.starts[:-1]]
    )
    if packed:
        assert len({r.length for r in rows}) == 1


# Rows of these lengths; None leaves it to the batches whether to pack.
ROW_LENGTHS = st.sampled_from([None, (12, 20)])


@given(LENGTHS, st.integers(1, 7), st.integers(0, 3), ROW_LENGTHS)
@settings(deadline=None)
def test_an_epoch_has_every_unit_once_and_any_step_can_be_made_alone(
    lengths, batch_size, seed, row_lengths
):
    features = features_of_lengths(lengths)

    def batches():
        return TrainingBatches(
            features, sequence_labels, seed=seed, epochs=2, batch_size=batch_size, pad_id=0,
            lengths=row_lengths,
        )  # fmt: skip

    run = batches()
    seen = [run.rows(step).sequences for step in range(len(run))]
    for epoch in (0, 1):
        part = seen[epoch * run.steps_per_epoch : (epoch + 1) * run.steps_per_epoch]
        units = np.sort(np.concatenate(part).ravel())
        assert units[units >= 0].tolist() == list(range(len(lengths)))
    last = len(run) - 1
    for name, array in batches()[last].items():
        np.testing.assert_array_equal(array, run[last][name])
    assert run[0]["weights"].sum() == (run.rows(0).sequences >= 0).sum()


@given(LENGTHS, st.integers(1, 7), st.integers(0, 3), ROW_LENGTHS)
@settings(deadline=None)
def test_every_label_of_an_epoch_weighs_the_same_whatever_batch_it_is_in(
    lengths, batch_size, seed, row_lengths
):
    tokens = sum(lengths)
    labels = np.random.default_rng(seed).integers(NO_LABEL, 2, tokens).astype(np.int32)
    run = TrainingBatches(
        features_of_lengths(lengths, labels), token_labels, seed=seed, epochs=1,
        batch_size=batch_size, pad_id=0, lengths=row_lengths,
    )  # fmt: skip
    average = (labels != NO_LABEL).sum() / len(lengths)
    seen = 0
    for batch in (run[step] for step in range(len(run))):
        count = batch["weights"].sum()
        seen += count
        if count:  # of the batch's mean each label is 1 / count, and of the gradient:
            np.testing.assert_allclose(
                batch["share"] / count, 1 / (average * batch_size), rtol=1e-5
            )
        assert batch["share"].shape == (len(batch["input_ids"]),)
    assert seen == (labels != NO_LABEL).sum()


def test_choices_of_a_question_stay_together():
    starts = np.array([0, 2, 5, 7])
    features = features_of_lengths([3, 5, 4, 4, 9, 3, 3], np.zeros(7, np.float32), starts)
    run = TrainingBatches(features, choice_labels, seed=0, epochs=1, batch_size=2, pad_id=0)
    rows = np.concatenate([run.rows(step).sequences for step in range(len(run))]).reshape(-1, 3)
    assert sorted(map(tuple, rows.tolist())) == [(-1, -1, -1), (0, 1, -1), (2, 3, 4), (5, 6, -1)]


def test_other_seeds_and_epochs_have_another_order():
    features = features_of_lengths([5] * 64)
    orders = set()
    for seed in (0, 1):
        run = TrainingBatches(
            features, sequence_labels, seed=seed, epochs=2, batch_size=8, pad_id=0
        )
        orders |= {tuple(run.rows(step).sequences.ravel()) for step in (0, run.steps_per_epoch)}
    assert len(orders) == 4


def real_text_lengths(count):
    lengths = np.random.default_rng(0).gamma(6, 4.5, count).astype(int) + 3
    return np.clip(lengths, 4, 128).tolist()


def shapes(run):
    return {run[step]["input_ids"].shape for step in range(len(run))}


@pytest.mark.parametrize(("batch_size", "epochs"), [(32, 3), (512, 9)])
def test_real_text_is_packed_and_wastes_little_in_few_shapes(batch_size, epochs):
    run = TrainingBatches(
        features_of_lengths(real_text_lengths(100 * batch_size)), sequence_labels, seed=0,
        epochs=epochs, batch_size=batch_size, pad_id=0,
    )  # fmt: skip
    assert run.packed
    assert run.real_token_fraction() >= 0.92
    assert len(shapes(run)) <= 7


def test_sorted_real_text_wastes_little_in_few_shapes():
    features = features_of_lengths(real_text_lengths(8000))
    run = TrainingBatches(
        features, sequence_labels, seed=0, epochs=3, batch_size=32, pad_id=0,
        lengths=choose_lengths(features.lengths, 32),
    )  # fmt: skip
    assert not run.packed
    assert run.real_token_fraction() >= 0.92
    assert len(shapes(run)) <= len(run.lengths) <= 12


def test_few_long_sequences_a_batch_are_sorted_since_packing_leaves_holes():
    lengths = np.random.default_rng(0).integers(60, 129, 400).tolist()
    run = TrainingBatches(
        features_of_lengths(lengths), sequence_labels, seed=0, epochs=1, batch_size=8, pad_id=0
    )
    assert not run.packed and run.real_token_fraction() >= 0.9


@given(LENGTHS, st.integers(2, 8))
@settings(deadline=None)
def test_how_many_devices_there_are_changes_nothing_but_empty_rows(lengths, ways):
    features = features_of_lengths(lengths)
    one, many = (
        TrainingBatches(
            features, sequence_labels, seed=0, epochs=1, batch_size=8, pad_id=0, ways=count
        )
        for count in (1, ways)
    )
    assert one.packed == many.packed
    for step in range(len(one)):
        for name, array in one[step].items():
            more = many[step][name]
            np.testing.assert_array_equal(more[: len(array)], array)
            assert not more[len(array) :].any()
        if one.packed:
            assert len(many[step]["input_ids"]) % ways == 0


@given(st.lists(st.integers(1, 12), min_size=1, max_size=12), st.integers(1, 4))
def test_no_other_choice_of_as_many_lengths_pads_less(lengths, most):
    found = choose_lengths(np.array(lengths), 1, waste=0.0, most=most)

    def padded(chosen):
        return sum(length_for(n, chosen) for n in lengths)

    assert list(found) == sorted(set(found)) and found[-1] == max(lengths) and len(found) <= most
    others = itertools.combinations(sorted({*lengths} - {max(lengths)}), len(found) - 1)
    assert padded(found) == min(padded((*other, max(lengths))) for other in others)


def test_nothing_to_train_on():
    with pytest.raises(UserError, match="got 0 epochs of 1 sequences in batches of 2"):
        TrainingBatches(
            features_of_lengths([3]), sequence_labels, seed=0, epochs=0, batch_size=2, pad_id=0
        )


@pytest.mark.parametrize("positions", [20, 24, 100])
def test_rows_are_not_longer_than_the_models_positions(positions):
    lengths = [3, 19, 20, 7, positions, positions - 1]
    features = features_of_lengths(lengths)
    assert packed_rows(features, 2, positions)[0].length == positions
    for unit_starts in (np.arange(7), np.array([0, 2, 4, 6])):  # packed, and choices
        run = TrainingBatches(
            features_of_lengths(lengths, unit_starts=unit_starts), sequence_labels, seed=0,
            epochs=1, batch_size=2, pad_id=0, positions=positions,
        )  # fmt: skip
        assert max(run.lengths) == positions
