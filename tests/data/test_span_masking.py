"""Spans, and rates that move."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from bert_jax.data.masking import (
    MASKINGS,
    Masking,
    PieceTable,
    _span_words,
    default_max_predictions,
    mask_row,
)
from bert_jax.errors import UserError
from tests.data.synthetic import random_documents
from tests.data.test_masking import (
    VOCABULARY,
    batches_of,
    predictions,
    unmasked,
    within,
    words_of,
)


def spans_of(positions: np.ndarray) -> list[np.ndarray]:
    """Cut ascending positions into runs of neighbours."""
    return np.split(positions, np.flatnonzero(np.diff(positions) != 1) + 1)


SPAN = MASKINGS["span"]


def test_spans_are_whole_words_and_never_cross_a_special():
    documents = random_documents(20, 30)
    documents.pieces[::17] = VOCABULARY.unk_id
    count = wanted = several = 0
    for batch in batches_of(documents, SPAN, steps=10, max_instances=3):
        original = unmasked(batch)
        for b in range(len(original)):
            masked = batch["masked_positions"][b][batch["masked_weights"][b] > 0]
            count += len(masked)
            wanted += max(1, round(0.15 * np.count_nonzero(batch["instance_ids"][b])))
            for word in words_of(original[b]):
                assert word <= set(masked.tolist()) or not word & set(masked.tolist())
            assert not np.isin(original[b][masked], VOCABULARY.special_ids).any()
            several += sum(len(run) > 3 for run in spans_of(masked))
    assert several > 100
    assert 0.97 * wanted < count <= wanted


def test_lengths_of_spans_are_geometric():
    # Words of one piece, and room for many: the first span of a row is as long as it was drawn.
    table = PieceTable.of(VOCABULARY)
    alone = np.zeros_like(table.is_continuation)
    found = []
    for key in range(4000):
        row = np.full(3000, 7, np.int32)
        positions, labels = np.zeros((2, 11), np.int32)
        weights = np.zeros(11, np.float32)
        mask_row(
            np.uint64(key), row, len(row), 11 / 3000, 10, SPAN.thresholds, table.mask_id,
            table.ordinary_ids, table.is_special, alone, positions, labels, weights,
        )  # fmt: skip
        lengths = [len(run) for run in spans_of(positions[weights > 0])]
        if len(lengths) == 2:  # of 11 words two spans, at least one of them as it was drawn
            found.append(max(lengths))
    assert max(found) == 10
    shares = np.array([_span_words(np.uint64(x), 10) for x in _uniform_bits(20000)])
    expected = 0.2 * 0.8 ** np.arange(10) / (1 - 0.8**10)
    assert stats.chisquare(np.bincount(shares, minlength=11)[1:], expected * 20000).pvalue > 1e-4
    assert abs(shares.mean() - 3.8) < 0.1  # as published


def _uniform_bits(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2**64, count, dtype=np.uint64)


def test_a_span_is_replaced_as_one_and_shares_are_as_asked():
    documents = random_documents(100, 30)
    kinds = {"mask": 0, "mixed": 0, "other": 0}
    seen, labels = predictions(batches_of(documents, SPAN, batch_size=64, steps=60))
    # Pieces of a span share one draw: fewer independent trials than pieces, by their mean length.
    n = len(labels) // 8
    assert within((seen == VOCABULARY.mask_id).mean(), 0.8, n)
    assert within((seen == labels).mean(), 0.1 + 0.1 / 95, n)
    for batch in batches_of(documents, SPAN, batch_size=64, steps=5):
        for b in range(64):
            masked = batch["masked_positions"][b][batch["masked_weights"][b] > 0]
            for run in spans_of(masked):
                is_mask = batch["input_ids"][b][run] == VOCABULARY.mask_id
                name = "mask" if is_mask.all() else "other" if not is_mask.any() else "mixed"
                kinds[name] += 1
    # Mixed are spans that happen to touch.
    assert kinds["mixed"] < 0.1 * kinds["mask"]


@pytest.mark.parametrize("name", MASKINGS)
@pytest.mark.parametrize("rate", [0.15, 0.4])
def test_each_masking_keeps_its_rate(name, rate):
    masking = dataclasses.replace(MASKINGS[name], rate=rate)
    batches = batches_of(random_documents(50, 200), masking, batch_size=64, steps=20)
    masked = sum(batch["masked_weights"].sum() for batch in batches)
    real = sum(np.count_nonzero(batch["instance_ids"]) for batch in batches)
    assert masking.predictions(128) >= round(128 * rate)
    assert rate - 0.01 < masked / real < rate + 0.003


def test_a_rate_moves_from_step_to_step_and_the_slots_stay():
    masking = Masking(rate=0.3, final_rate=0.15)
    assert masking.predictions(128) == 40
    assert [masking.rate_at(p) for p in (0, 0.5, 1)] == [0.3, pytest.approx(0.225), 0.15]
    batches = batches_of(random_documents(50, 200), masking, batch_size=64, steps=41)
    rates = []
    for batch in batches:
        assert batch["masked_weights"].shape == (64, 40)
        rates.append(batch["masked_weights"].sum() / np.count_nonzero(batch["instance_ids"]))
    np.testing.assert_allclose(rates, np.linspace(0.3, 0.15, 41), atol=0.004)
    rising = Masking(rate=0.1, final_rate=0.5)
    assert rising.predictions(128) == 64


def test_slots_are_those_of_fifteen_per_cent_as_ever():
    for length in range(5, 4097):
        assert default_max_predictions(length) == -(-15 * length // 400) * 4


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"final_rate": 0.0}, "rate of 0.0"),
        ({"final_rate": 1.0}, "rate of 1.0"),
        ({"longest_span": 10}, "longest_span=10, whole_word=False"),
        ({"longest_span": 0, "whole_word": True}, "longest_span=0"),
    ],
)
def test_mistakes_are_named(arguments, named):
    with pytest.raises(UserError, match=named):
        Masking(**arguments)
