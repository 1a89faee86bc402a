"""The parts of an inspection that need scored pairs, or words in their contexts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bert_jax.analysis.contextuality import (
    contextuality_of,
    find_occurrences,
    mean_states,
    occurrence_states,
)
from bert_jax.analysis.geometry import Spectrum, all_but_the_top, spectrum_of, whitened
from bert_jax.analysis.hidden_states import HiddenStates, sentence_agreement
from bert_jax.analysis.inspection.finding import Finding, agreement_numbers
from bert_jax.analysis.inspection.inspected import Inspected
from bert_jax.analysis.report.similarity_sections import (
    contextuality_section,
    sentences_section,
    similarity_section,
)
from bert_jax.analysis.similarity import Agreement, ScoredPairs, agreement
from bert_jax.analysis.words import split_words

_CONTEXT = 32  # positions a word is read in
_CONTEXTUALITY_WORDS = 200
_CONTEXTUALITY_OCCURRENCES = 10


def similarity_benchmarks(
    inspected: Inspected,
    spectrum: Spectrum,
    benchmarks: Sequence[ScoredPairs],
    hidden: HiddenStates | None,
    layer: int,
    occurrences: int,
) -> Finding:
    """Word similarity of the token table and, with a corpus, of contextual vectors.

    Args:
        hidden: None leaves the contextual vectors out.
        layer: whose contextual vectors are treated and shown; negative counts from the last.
        occurrences: how many of each word are averaged.
    """
    table: dict[str, dict[str, Agreement]] = {}
    contextual: dict[str, dict[str, Agreement]] = {}
    by_layer: dict[str, list[Agreement]] = {}
    texts = tuple(dict.fromkeys(t for pairs in benchmarks for t in pairs.first + pairs.second))
    words = split_words(inspected.tokenizer, texts)
    rows = _treated(words.vectors(inspected.token_table), spectrum)
    means = None
    if hidden is not None and inspected.text is not None:
        found = find_occurrences(
            inspected.text.documents, words.pieces, inspected.tokenizer,
            most=occurrences, most_in_document=max(2, occurrences // 5), length=_context(hidden),
        )  # fmt: skip
        means = mean_states(hidden, found, len(texts))
        met = means[layer][np.isfinite(means[layer]).all(axis=1)]
        if len(met) > 1:
            states = _treated(means[layer], spectrum_of(met))
    number = {text: i for i, text in enumerate(texts)}
    for pairs in benchmarks:
        first, second = ([number[t] for t in side] for side in (pairs.first, pairs.second))
        table[pairs.name] = {
            f"token table, {way}": agreement(vectors[first], vectors[second], pairs.scores)
            for way, vectors in rows.items()
        }
        if means is not None and len(met) > 1:
            by_layer[pairs.name] = [agreement(m[first], m[second], pairs.scores) for m in means]
            contextual[pairs.name] = {
                f"layer {layer % len(means)}, {way}": agreement(
                    vectors[first], vectors[second], pairs.scores
                )
                for way, vectors in states.items()
            }
    corpus = inspected.text.name if inspected.text is not None else ""
    numbers: dict[str, Any] = {
        name: {way: agreement_numbers(a) for way, a in {**ways, **contextual.get(name, {})}.items()}
        for name, ways in table.items()
    }
    for name, layers in by_layer.items():
        numbers[name]["by_layer"] = [agreement_numbers(a) for a in layers]
    return Finding(similarity_section(table, contextual, by_layer, corpus), numbers)


def sentence_similarity(
    inspected: Inspected, hidden: HiddenStates, benchmarks: Sequence[ScoredPairs]
) -> Finding:
    """Sentence similarity by [CLS] and by the mean."""
    found = {
        pairs.name: sentence_agreement(hidden, inspected.tokenizer, pairs) for pairs in benchmarks
    }
    numbers = {
        name: {way: [agreement_numbers(a) for a in layers] for way, layers in ways.items()}
        for name, ways in found.items()
    }
    return Finding(sentences_section(found), numbers)


def contextuality(inspected: Inspected, hidden: HiddenStates) -> Finding | None:
    """How far the layers move frequent words; None where the corpus is too small to tell."""
    assert inspected.text is not None
    rows = _spread(inspected)
    found = find_occurrences(
        inspected.text.documents, [np.array([row]) for row in rows], inspected.tokenizer,
        most=_CONTEXTUALITY_OCCURRENCES, most_in_document=2, length=_context(hidden),
    )  # fmt: skip
    if np.bincount(found.words, minlength=1).max() < 2:
        return None
    states = np.concatenate([part for _, part in occurrence_states(hidden, found)], axis=1)
    measured = contextuality_of(states, found.words, inspected.token_table[rows][found.words])
    numbers = {
        name: np.round(value, 5).tolist() if isinstance(value, np.ndarray) else value
        for name, value in dataclasses.asdict(measured).items()
    }
    return Finding(contextuality_section(measured, inspected.text.name), numbers)


def _treated(vectors: np.ndarray, spectrum: Spectrum) -> Mapping[str, np.ndarray]:
    return {
        "raw": vectors,
        "centred": all_but_the_top(vectors, spectrum, 0),
        "all but the top": all_but_the_top(vectors, spectrum),
        "whitened": whitened(vectors, spectrum),
    }


def _spread(inspected: Inspected) -> np.ndarray:
    """Whole words that occur often enough, evenly over their ranks."""
    assert inspected.text is not None
    counts = inspected.text.counts
    whole = np.array(
        [
            i for i in inspected.rows.ordinary
            if len(inspected.rows.pieces[i]) > 2 and inspected.rows.pieces[i].isalpha()
            and counts[i] >= _CONTEXTUALITY_OCCURRENCES
        ],
        np.int64,
    )  # fmt: skip
    ranked = whole[np.argsort(-counts[whole], kind="stable")]
    places = np.linspace(0, len(ranked) - 1, min(_CONTEXTUALITY_WORDS, len(ranked)))
    return ranked[np.unique(places.round().astype(int))] if len(ranked) else ranked


def _context(hidden: HiddenStates) -> int:
    return min(_CONTEXT, hidden.config.max_position_embeddings)
