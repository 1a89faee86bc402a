"""Scores of classification and regression, by name; scikit-learn and scipy compute them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bert_jax.errors import UserError


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Share of the examples that got their label."""
    return float(_sklearn().accuracy_score(labels, predicted))


def macro_f1(predicted: np.ndarray, labels: np.ndarray) -> float:
    """F1 of each class that occurs in either, averaged: a rare class counts as much as others."""
    return float(_sklearn().f1_score(labels, predicted, average="macro", zero_division=0))


def binary_f1(predicted: np.ndarray, labels: np.ndarray) -> float:
    """F1 of class 1 of two, as GLUE has it for MRPC and QQP."""
    return float(_sklearn().f1_score(labels, predicted, average="binary", zero_division=0))


def matthews(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Matthews' correlation, as GLUE has it for CoLA; 0 where one side is constant."""
    return float(_sklearn().matthews_corrcoef(labels, predicted))


def pearson(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Pearson's correlation; 0 where one side is constant."""
    if np.ptp(predicted) == 0 or np.ptp(labels) == 0:
        return 0.0
    return float(_scipy().pearsonr(predicted, labels).statistic)


def spearman(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Spearman's rank correlation; 0 where one side is constant."""
    if np.ptp(predicted) == 0 or np.ptp(labels) == 0:
        return 0.0
    return float(_scipy().spearmanr(predicted, labels).statistic)


def negative_mean_square(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Mean square error with its sign turned, so that more is better here too."""
    return -float(np.mean(np.square(predicted.astype(np.float64) - labels)))


SCORES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "f1": binary_f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
    "negative_mean_square": negative_mean_square,
}


def score(names: Sequence[str], predicted: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Compute scores by name.

    Args:
        names: of `SCORES`; the first is the one that models are chosen by.
        predicted: class numbers, or values of a regression, [n].
        labels: the truth, [n].

    Raises:
        UserError: an unknown name.
    """
    for name in names:
        if name not in SCORES:
            raise UserError(f"got score {name!r}; expected one of {', '.join(SCORES)}")
    return {name: SCORES[name](predicted, labels) for name in names}


def _scipy() -> Any:
    from scipy import stats  # takes a second to import

    return stats


def _sklearn() -> Any:
    from sklearn import metrics  # of the extra [tasks]

    return metrics
