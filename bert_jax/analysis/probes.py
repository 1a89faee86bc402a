"""Linear probes: what can be read off frozen hidden states by one weighted sum."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from bert_jax.data.row_layout import Batch
from bert_jax.statistics import wilson_interval

Examples = tuple[np.ndarray, np.ndarray]
"""What a probe is fitted on: features [n, D] and labels [n], 0 or 1."""

_FARTHEST = 5  # places between the two tokens of a pair


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
        features: [n, D]; standardised by their own mean and standard deviation, as are the test's.
        labels: [n], 0 or 1.
        test_features: [m, D], of other documents.
        test_labels: [m].
        penalty: times half the squared norm of the weights, added to the summed log loss in nats.
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


def order_examples(
    batch: Batch,
    hidden: np.ndarray,
    each: int,
    special_ids: Sequence[int],
    draw: np.random.Generator,
) -> Examples:
    """Pairs of tokens of one sentence part: difference of hidden states, is the first first?

    Args:
        batch: of rows, as they stood before anything was shuffled.
        hidden: [B, L, D].
        each: pairs from a row, at most; of every distance from 1 to 5 alike.
        special_ids: of pieces that are left out.
        draw: the random numbers.
    """
    features, labels = [], []
    for row, places in enumerate(_words(batch, special_ids)):
        for _ in range(each if len(places) > 1 else 0):
            first = draw.integers(0, len(places) - 1)
            second = first + draw.integers(1, _FARTHEST + 1)
            turned = draw.integers(0, 2)
            if second >= len(places):
                continue
            a, b = places[first], places[second]
            if batch["token_type_ids"][row, a] != batch["token_type_ids"][row, b]:
                continue
            difference = hidden[row, a] - hidden[row, b]
            features.append(-difference if turned else difference)
            labels.append(1 - turned)
    return np.array(features), np.array(labels)


def segment_examples(
    batch: Batch,
    hidden: np.ndarray,
    each: int,
    special_ids: Sequence[int],
    draw: np.random.Generator,
) -> Examples:
    """Tokens: hidden states, and whether they are of B; arguments as for `order_examples`."""
    features, labels = [], []
    for row, places in enumerate(_words(batch, special_ids)):
        for _ in range(each if len(places) else 0):
            place = places[draw.integers(0, len(places))]
            features.append(hidden[row, place])
            labels.append(int(batch["token_type_ids"][row, place]))
    return np.array(features), np.array(labels)


def joined(examples: Sequence[Examples]) -> Examples:
    """The examples of several batches; those without any are left out."""
    features, labels = zip(*(e for e in examples if len(e[1])), strict=True)
    return np.concatenate(features), np.concatenate(labels)


def _words(batch: Batch, special_ids: Sequence[int]) -> list[np.ndarray]:
    """Where in each row tokens stand that are real and not special."""
    special = np.isin(batch["input_ids"], special_ids)
    return [np.flatnonzero(row) for row in (batch["instance_ids"] > 0) & ~special]
