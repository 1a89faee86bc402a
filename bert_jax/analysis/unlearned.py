"""Rows that training never taught, suspected from the weights alone; and how often that is right.

A vocabulary holds pieces that a model's training text does not, and whose rows are noise: "glitch
tokens". Who has the weights and not the text can only guess which (Land & Bartolo 2024, "Fishing
for Magikarp", https://arxiv.org/abs/2405.05417); the audit of a run of ours knows, since it counts
the steps that looked a row up (`bert_jax.training.update_audit`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from bert_jax.analysis.nearest import directions, mean_row
from bert_jax.errors import UserError
from bert_jax.parameters import Parameters, token_table


@dataclasses.dataclass(frozen=True, eq=False)
class TokenWeights:
    """What a model has for each token.

    Attributes:
        table: [V, D], what is looked up.
        decoder: [V, D], what scores are products with; the table itself where they are tied.
        bias: [V], of the scores; None where there is no masked-LM head.
        unused: [K] rows that nothing can have trained, such as those of [PAD] and [unused7].
    """

    table: np.ndarray
    decoder: np.ndarray
    bias: np.ndarray | None
    unused: np.ndarray

    @classmethod
    def of(cls, params: Parameters, unused: np.ndarray) -> TokenWeights:
        """Those of a model's parameters, with or without an `mlm` head."""
        table, head = np.asarray(token_table(params)), params.get("mlm", {})
        rows = len(table)
        decoder = np.asarray(head["decoder"])[:rows] if "decoder" in head else table
        bias = np.asarray(head["bias"])[:rows] if "bias" in head else None
        return cls(table, decoder, bias, np.asarray(unused, np.int64))


Score = Callable[[TokenWeights], np.ndarray | None]


@dataclasses.dataclass(frozen=True)
class Indicator:
    """A guess.

    Attributes:
        name: in a table.
        source: who made it.
        score: gives [V], the higher the likelier it is that a row was never taught; None where the
            model lacks what it looks at.
    """

    name: str
    source: str
    score: Score


def low_bias(weights: TokenWeights) -> np.ndarray | None:
    """A piece that is never a label has its bias pushed down at every step."""
    return None if weights.bias is None else -weights.bias.astype(np.float64)


def short_row(weights: TokenWeights) -> np.ndarray:
    """A row that nothing but weight decay changes is short."""
    return -np.linalg.norm(weights.table, axis=1)


def short_decoder_row(weights: TokenWeights) -> np.ndarray:
    """The same of the rows that scores are made with."""
    return -np.linalg.norm(weights.decoder, axis=1)


def near_mean(weights: TokenWeights) -> np.ndarray:
    """Rows that were only ever pushed together lie about the mean row."""
    return -np.linalg.norm(weights.table - mean_row(weights.table), axis=1)


def along_mean_decoder(weights: TokenWeights) -> np.ndarray:
    """Decoder rows that were only ever pushed away from the context point where all of them do."""
    mean = mean_row(weights.decoder)
    return _unit(weights.decoder) @ (mean / max(np.linalg.norm(mean), 1e-12))


def near_unused(weights: TokenWeights) -> np.ndarray | None:
    """Decoder rows in the direction of those known to be unused, but for what all share.

    The first principal direction (about 0) is taken off all rows before.
    """
    if not len(weights.unused):
        return None
    rows = weights.decoder.astype(np.float64)
    _, directions = np.linalg.eigh(rows.T @ rows)
    rows = rows - np.outer(rows @ directions[:, -1], directions[:, -1])
    mean = rows[weights.unused].mean(axis=0)
    return _unit(rows) @ (mean / max(np.linalg.norm(mean), 1e-12))


def close_to_unused(weights: TokenWeights) -> np.ndarray | None:
    """Decoder rows at the place of those known to be unused."""
    if not len(weights.unused):
        return None
    return -np.linalg.norm(weights.decoder - mean_row(weights.decoder[weights.unused]), axis=1)


_MAGIKARP = "Land & Bartolo 2024"
LOW_BIAS = Indicator("low bias", "bert_jax", low_bias)
ALONG_MEAN = Indicator("along the mean decoder row", "bert_jax", along_mean_decoder)
INDICATORS = (
    LOW_BIAS,
    Indicator("short row", _MAGIKARP, short_row),
    Indicator("short decoder row", _MAGIKARP, short_decoder_row),
    Indicator("near the mean row", "bert_jax", near_mean),
    ALONG_MEAN,
    Indicator("in the direction of unused rows", _MAGIKARP, near_unused),
    Indicator("close to unused rows", _MAGIKARP, close_to_unused),
)


def suspect(weights: TokenWeights) -> tuple[Indicator, np.ndarray]:
    """Score all rows by the indicator that held best where the truth is known.

    That is the bias of the masked-LM head; without one, or where it was never trained, the cosine
    with the mean of the decoder's rows.

    Returns:
        The indicator and its scores [V], the higher the likelier a row was never taught.
    """
    bias = low_bias(weights)
    if bias is not None and np.ptp(bias) > 0:
        return LOW_BIAS, bias
    return ALONG_MEAN, along_mean_decoder(weights)


def roc_auc(scores: np.ndarray, truth: np.ndarray) -> float:
    """How often a true row scores higher than a false one; a tie counts half.

        >>> roc_auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
        0.75

    Args:
        scores: [n].
        truth: boolean [n].

    Raises:
        UserError: all are, or none is.
    """
    from scipy.stats import rankdata  # takes a second to import

    ones = int(truth.sum())
    others = len(truth) - ones
    if not ones or not others:
        raise UserError(f"got {ones} of {len(truth)} rows that are; expected some that are not")
    return float((rankdata(scores)[truth].sum() - ones * (ones + 1) / 2) / (ones * others))


@dataclasses.dataclass(frozen=True)
class Detection:
    """How well one indicator tells the rows that were never looked up: ROC-AUC, 0.5 by chance.

    Attributes:
        of_all: from all others.
        of_taught: from those that enough steps looked up.
    """

    of_all: float
    of_taught: float


def detections(
    weights: TokenWeights, as_input: np.ndarray, rows: np.ndarray, taught: int = 8
) -> dict[str, Detection]:
    """How well each indicator does where it is known what training taught.

    Args:
        as_input: [V], steps that looked a row up, as the audit counts them.
        rows: numbers of the rows that are asked about: not the special and unused ones, which
            some indicators are told.
        taught: steps that look a row up and are enough.

    Returns:
        By the indicator's name; without those that the model lacks what they look at, and empty
        where every row was looked up, or none that often.
    """
    steps = as_input[rows]
    never, often = steps == 0, steps >= taught
    if not never.any() or not often.any():
        return {}
    found = {}
    for indicator in INDICATORS:
        scores = indicator.score(weights)
        if scores is not None:
            scores, clear = scores[rows], never | often
            found[indicator.name] = Detection(
                roc_auc(scores, never), roc_auc(scores[clear], never[clear])
            )
    return found


def _unit(rows: np.ndarray) -> np.ndarray:
    return directions(rows).astype(np.float64)
