"""Sentence similarity: the cosines of two sentences' vectors against people's scores."""

from __future__ import annotations

import numpy as np

from bert_jax.analysis.hidden_states import HiddenStates, text_states
from bert_jax.analysis.similarity import Agreement, ScoredPairs, agreement, distinct_texts
from bert_jax.text.tokenizer import Tokenizer

POOLINGS = ("cls", "mean")


def sentence_agreement(
    hidden: HiddenStates, tokenizer: Tokenizer, pairs: ScoredPairs, max_length: int = 128
) -> dict[str, list[Agreement]]:
    """Score the pairs by the state at [CLS] and by the mean of all states, for every layer.

    Args:
        pairs: of sentences.
        max_length: positions that are read of a sentence.

    Returns:
        For "cls" and for "mean", layers + 1 correlations.
    """
    texts, first, second = distinct_texts(pairs)
    limit = min(max_length, hidden.config.max_position_embeddings)
    encodings = tokenizer.encode_batch(texts, max_length=limit)
    vectors = np.empty((hidden.layers, len(texts), 2, hidden.config.hidden_size), np.float32)
    for numbers, states in text_states(hidden, encodings):
        vectors[:, numbers] = states
    return {
        name: [agreement(layer[first, way], layer[second, way], pairs.scores) for layer in vectors]
        for way, name in enumerate(POOLINGS)
    }
