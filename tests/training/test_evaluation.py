import math

import numpy as np
import pytest

from bert_jax.training.evaluation import unigram_entropy, wilson_interval


def test_wilson_interval_of_known_counts():
    # 81 of 263: the worked example of Newcombe 1998, table I.
    low, high = wilson_interval(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert wilson_interval(0, 10)[0] == 0.0
    assert wilson_interval(10, 10)[1] == pytest.approx(1.0)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_entropy_of_known_distributions():
    assert unigram_entropy(np.arange(8)) == pytest.approx(math.log(8))
    assert unigram_entropy(np.array([3, 3, 3])) == 0.0
    assert unigram_entropy(np.array([0, 0, 1, 2], np.uint16)) == pytest.approx(1.5 * math.log(2))
