import numpy as np
import pytest

from bert_jax.analysis.probes import linear_probe
from bert_jax.statistics import wilson_interval


def test_what_lies_in_one_direction_is_read_off():
    draw = np.random.default_rng(0)
    x, direction = draw.normal(size=(900, 8)), draw.normal(size=8)
    # Shifted and stretched: the probe standardises.
    labels, x = (x @ direction > 0).astype(int), 100 + x * np.geomspace(1e-3, 1e3, 8)
    result = linear_probe(x[:600], labels[:600], x[600:], labels[600:])
    assert result.accuracy > 0.97
    assert result.trials == 300
    assert result.interval == wilson_interval(round(result.accuracy * 300), 300)
    assert result.chance == pytest.approx(max(labels[600:].mean(), 1 - labels[600:].mean()))


def test_noise_is_not_read_off_and_a_constant_does_no_harm():
    draw = np.random.default_rng(1)
    x, labels = draw.normal(size=(4000, 4)), draw.integers(0, 2, 4000)
    x[:, 2] = 7.0
    result = linear_probe(x[:2000], labels[:2000], x[2000:], labels[2000:])
    assert result.interval[0] < 0.5 < result.interval[1]


def test_of_two_features_in_xor_nothing_is_linear():
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 50, float)
    labels = (x[:, 0] != x[:, 1]).astype(int)
    assert linear_probe(x, labels, x, labels).accuracy <= 0.75
