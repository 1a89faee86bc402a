import math

import numpy as np
import pytest

from bert_jax.statistics import ratio_interval, unigram_entropy, wilson_interval


def test_wilson_interval_of_known_counts():
    # 81 of 263: the worked example of Newcombe 1998, table I.
    low, high = wilson_interval(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    for trials in range(1, 200):  # exactly, though the formula rounds
        assert wilson_interval(0, trials)[0] == 0.0
        assert wilson_interval(trials, trials)[1] == 1.0
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_interval_of_a_ratio():
    ratio, (low, high) = ratio_interval(np.array([4.0, 2.0]), np.array([1.0, 1.0]), z=2.0)
    assert (ratio, low, high) == pytest.approx((3, 3 - math.sqrt(2), 3 + math.sqrt(2)))
    # What is proportional has no error, however the batches differ in size.
    assert ratio_interval(np.array([3.0, 30.0]), np.array([1.0, 10.0])) == (3.0, (3.0, 3.0))


def test_ninety_five_of_a_hundred_intervals_hold_the_truth():
    draw, held = np.random.default_rng(0), 0
    for _ in range(400):
        sizes = draw.uniform(50, 150, size=40)
        _, (low, high) = ratio_interval(sizes * 2 + draw.normal(0, 9, size=40), sizes)
        held += low < 2 < high
    assert 0.91 < held / 400 < 0.98


def test_entropy_of_known_distributions():
    assert unigram_entropy(np.arange(8)) == pytest.approx(math.log(8))
    assert unigram_entropy(np.array([3, 3, 3])) == 0.0
    assert unigram_entropy(np.array([0, 0, 1, 2], np.uint16)) == pytest.approx(1.5 * math.log(2))
