"""Static against contextual: how far the layers move a token from the row it came from.

Measures of Ethayarajh 2019 (https://arxiv.org/abs/1909.00512).
"""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Contextuality:
    """By layer, from the input representation (0) to the last.

    Attributes:
        self_similarity: [layers + 1] mean cosine of two occurrences of one word.
        baseline: [layers + 1] mean cosine of two occurrences of different words: how narrow the
            cone is in which all states lie.
        to_input_row: [layers + 1] mean cosine of an occurrence to its word's row of the token
            table.
        to_input_state: [layers + 1] mean cosine to its own state at layer 0.
        words, occurrences: how many were compared.
    """

    self_similarity: np.ndarray
    baseline: np.ndarray
    to_input_row: np.ndarray
    to_input_state: np.ndarray
    words: int
    occurrences: int

    @property
    def adjusted(self) -> np.ndarray:
        """[layers + 1] self-similarity less the baseline, as Ethayarajh reports it."""
        return self.self_similarity - self.baseline


def contextuality_of(states: np.ndarray, words: np.ndarray, rows: np.ndarray) -> Contextuality:
    """Measure n occurrences of words that occur at least twice; others are left out.

    Args:
        states: [layers + 1, n, D].
        words: [n] which word each is.
        rows: [n, D] each word's row of the token table.
    """
    words = np.asarray(words)
    often = np.bincount(words)[words] > 1 if len(words) else np.zeros(0, bool)
    states, rows, words = states[:, often], rows[often], words[often]
    numbers, groups = np.unique(words, return_inverse=True)
    units = _units(states)
    sizes = np.bincount(groups, minlength=len(numbers)).astype(float)
    same, different = np.full((2, len(states)), np.nan)
    for layer, layer_units in enumerate(units):
        sums = np.zeros((len(numbers), states.shape[2]))
        np.add.at(sums, groups, layer_units)
        squares = (sums**2).sum(axis=1)
        if len(numbers):
            same[layer] = ((squares - sizes) / (sizes * (sizes - 1))).mean()
        pairs = sizes.sum() ** 2 - (sizes**2).sum()
        if pairs:
            different[layer] = ((sums.sum(axis=0) ** 2).sum() - squares.sum()) / pairs
    if not len(numbers):
        nothing = np.full(len(states), np.nan)
        return Contextuality(nothing, nothing, nothing, nothing, 0, 0)
    return Contextuality(
        self_similarity=same,
        baseline=different,
        to_input_row=np.einsum("lnd,nd->l", units, _units(rows)) / len(words),
        to_input_state=np.einsum("lnd,nd->l", units, units[0]) / len(words),
        words=len(numbers),
        occurrences=len(words),
    )


def _units(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-300)
