"""Rows that training never taught, guessed from weights: made-up tables whose truth is known."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax import UserError
from bert_jax.analysis.unlearned import INDICATORS, TokenWeights, detections, roc_auc, suspect

BY_NAME = {indicator.name: indicator for indicator in INDICATORS}


def weights(**changes):
    """Rows 0 and 1 are unused, 2 to 4 never taught: in each way that an indicator looks for."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(80, 8)).astype(np.float32) * 3
    table[:5] = 0.1 * rng.normal(size=(5, 8)) + 0.2
    decoder = 2 * rng.normal(size=(80, 8)).astype(np.float32)
    decoder[:, 0] += 1.0  # what all share
    decoder[:5] = 0.01 * rng.normal(size=(5, 8)) + [1, 0.3, 0, 0, 0, 0, 0, 0]
    bias = np.where(np.arange(80) < 5, -2.0, 0.1).astype(np.float32)
    found = TokenWeights(table, decoder, bias, np.array([0, 1]))
    return dataclasses.replace(found, **changes)


AS_INPUT = np.array([0, 0, 0, 0, 0, *range(1, 76)])


@pytest.mark.parametrize("name", BY_NAME)
def test_what_an_indicator_looks_for_it_finds(name):
    found = detections(weights(), AS_INPUT, np.arange(2, 80))
    assert found[name].of_taught > 0.9


def test_what_a_model_lacks_is_left_out():
    without = weights(bias=None, unused=np.array([], int))
    found = detections(without, AS_INPUT, np.arange(80))
    assert set(BY_NAME) - set(found) == {
        "low bias", "in the direction of unused rows", "close to unused rows"
    }  # fmt: skip


def test_suspects_are_those_of_the_bias_or_of_the_cosine_with_the_mean():
    indicator, scores = suspect(weights())
    assert indicator.name == "low bias" and scores[:6] == pytest.approx([2, 2, 2, 2, 2, -0.1])
    for bias in (None, np.zeros(80, np.float32)):  # no head; one that was never trained
        indicator, scores = suspect(weights(bias=bias))
        assert indicator.name == "along the mean decoder row"
        assert roc_auc(scores, np.arange(80) < 5) > 0.9


def test_where_all_rows_are_taught_nothing_can_be_said():
    assert detections(weights(), np.full(80, 9), np.arange(80)) == {}
    assert detections(weights(), AS_INPUT, np.arange(80), taught=76) == {}


def test_weights_of_a_model_tied_untied_and_without_a_head():
    table, decoder = np.ones((3, 2)), np.zeros((4, 2))  # padded, so that devices can share it
    bert = {"embeddings": {"token": {"table": table}}}
    bias = np.arange(4.0)
    untied = TokenWeights.of({"bert": bert, "mlm": {"decoder": decoder, "bias": bias}}, [2])
    assert untied.decoder.shape == (3, 2) and untied.bias.tolist() == [0, 1, 2]
    tied = TokenWeights.of({"bert": bert, "mlm": {"bias": bias[:3]}}, [])
    assert tied.decoder is tied.table and len(tied.unused) == 0
    assert TokenWeights.of({"bert": bert}, []).bias is None


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30))
def test_the_area_is_the_share_of_pairs_in_order(rows):
    scores, truth = (np.array(column) for column in zip(*rows, strict=True))
    if truth.all() or not truth.any():
        with pytest.raises(UserError, match="expected some that are not"):
            roc_auc(scores, truth)
        return
    pairs = [
        (score > other) + (score == other) / 2
        for score in scores[truth]
        for other in scores[~truth]
    ]
    assert roc_auc(scores, truth) == pytest.approx(np.mean(pairs))
