"""Linear probes: what can be read off frozen hidden states by one weighted sum."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from bert_jax.statistics import wilson_interval


@dataclasses.dataclass(frozen=True)
class ProbeResult:
    """How a probe did on examples it was not trained on.

    Attributes:
        accuracy: share of hits, 0 … 1.
        interval: at 95 %, of the accuracy (Wilson).
        chance: accuracy of always answering what is more frequent in the test.
        trials: test examples.
    """

    accuracy: float
    interval: tuple[float, float]
    chance: float
    trials: int


def linear_probe(
    features: np.ndarray,
    labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    penalty: float = 1.0,
) -> ProbeResult:
    """Fit logistic regression to examples and measure it on others.

    Args:
        features: [n, D]; standardised by their own mean and deviation, as are the test's.
        labels: [n], 0 or 1.
        test_features: [m, D], of other documents.
        test_labels: [m].
        penalty: times half the squared norm of the weights, beside the summed log loss in nats.
    """
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    deviation = np.where(deviation > 1e-8, deviation, 1.0)

    def design(x: np.ndarray) -> np.ndarray:
        return np.column_stack([(x - mean) / deviation, np.ones(len(x))]).astype(np.float64)

    x, sign = design(features), 2.0 * np.asarray(labels) - 1.0

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margins = sign * (x @ weights)
        plain = weights * (np.arange(len(weights)) < len(weights) - 1)  # the bias goes free
        value = np.logaddexp(0.0, -margins).sum() + penalty / 2 * plain @ plain
        return value, penalty * plain - x.T @ (sign * expit(-margins))

    weights = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x
    answers = design(test_features) @ weights > 0
    hits, trials = int((answers == (np.asarray(test_labels) == 1)).sum()), len(test_labels)
    share = float(np.mean(test_labels))
    return ProbeResult(hits / trials, wilson_interval(hits, trials), max(share, 1 - share), trials)
