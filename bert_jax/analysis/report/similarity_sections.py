"""Sections in which cosines meet people's scores, and static rows their contexts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bert_jax.analysis.contextuality import Contextuality
from bert_jax.analysis.report.page import Block, Numbers, Plot, Section, Side, Table
from bert_jax.analysis.report.plots import grouped_intervals, lines
from bert_jax.analysis.similarity import Agreement

_HEADINGS = ("benchmark", "vectors", "Spearman's ρ", "95 % interval", "pairs", "coverage")


def similarity_section(
    table: Mapping[str, Mapping[str, Agreement]],
    contextual: Mapping[str, Mapping[str, Agreement]],
    by_layer: Mapping[str, Sequence[Agreement]],
    corpus: str,
) -> Section:
    """Word similarity.

    Args:
        table: benchmark -> way of treating the token table -> agreement.
        contextual: the same for contextual vectors of the chosen layer; empty without a corpus.
        by_layer: benchmark -> layers + 1 agreements of untreated contextual vectors.
        corpus: where the contexts come from, in words.
    """
    both = {name: {**ways, **contextual.get(name, {})} for name, ways in table.items()}
    blocks: list[Block] = [
        Plot(
            "word-similarity", "Agreement with people",
            "Spearman's rank correlation of cosines with people's scores, with its 95 % interval "
            "(Fisher's z, Bonett & Wright 2000). Intervals that overlap far: no difference shown.",
            grouped_intervals({name: _bars(ways) for name, ways in both.items()}, "Spearman's ρ"),
        ),
        Table(_HEADINGS, [_row(name, way, a) for name, ways in both.items()
                          for way, a in ways.items()],
              "A pair counts where the vocabulary can write both words and, for contextual "
              "vectors, both were found in the corpus."),
    ]  # fmt: skip
    if by_layer:
        blocks.append(
            Plot(
                "word-similarity-layers", "By layer",
                f"Contextual vectors, averaged over occurrences in {corpus}. Layer 0 is the input "
                "representation after LayerNorm.",
                lines(
                    {name: (np.arange(len(layers)), [a.rho for a in layers])
                     for name, layers in by_layer.items()},
                    "layer", "Spearman's ρ", marks=True,
                ),
            )
        )  # fmt: skip
    return Section(
        "similarity", "Word similarity",
        "Pairs of words that people have scored. If rows of the token table hold meaning, their "
        "cosines put the pairs into the same order.",
        tuple(blocks),
    )  # fmt: skip


def sentences_section(found: Mapping[str, Mapping[str, Sequence[Agreement]]]) -> Section:
    """Sentence similarity: benchmark -> pooling -> layers + 1 agreements."""
    series = {
        f"{name}, {pooling}": layers
        for name, ways in found.items()
        for pooling, layers in ways.items()
    }
    return Section(
        "sentences", "Sentence similarity",
        "Pairs of sentences that people have scored, by the cosine of two vectors: the state at "
        "[CLS], or the mean of all states.",
        (
            Plot(
                "sentence-similarity", "By layer and pooling",
                "How far the order of the cosines is that of people's scores, at every layer; "
                "layer 0 is the input representation, where [CLS] is the same in every text and "
                "tells nothing. Without fine-tuning, the mean usually says more than [CLS].",
                lines(
                    {name: (np.arange(len(layers)), [a.rho for a in layers])
                     for name, layers in series.items()},
                    "layer", "Spearman's ρ", marks=True,
                ),
            ),
            Table(
                _HEADINGS,
                [_row(name, f"{pooling}, last layer", layers[-1])
                 for name, ways in found.items() for pooling, layers in ways.items()],
            ),
        ),
    )  # fmt: skip


def contextuality_section(found: Contextuality, corpus: str) -> Section:
    """Static against contextual."""
    layers = np.arange(len(found.self_similarity))
    return Section(
        "contextuality", "Static against contextual",
        "A row of the token table is the same wherever its word stands. How far do the layers "
        "move a word from there, and how much do its occurrences come to differ?",
        (
            Numbers(
                (
                    ("words", f"{found.words:,}", f"with {found.occurrences:,} occurrences in "
                     f"{corpus}"),
                    ("to its row, layer 0", f"{found.to_input_row[0]:.2f}",
                     "cosine of a word's input representation to its row"),
                    ("to its row, last layer", f"{found.to_input_row[-1]:.2f}", "what is left"),
                    ("self-similarity, last layer", f"{found.self_similarity[-1]:.2f}",
                     f"{found.adjusted[-1]:.2f} above that of different words"),
                )
            ),
            Side(
                (
                    Plot(
                        "self-similarity", "Occurrences of one word",
                        "Mean cosine of two occurrences of the same word, and of different words: "
                        "the gap is what still tells the word (Ethayarajh 2019).",
                        lines(
                            {
                                "same word": (layers, found.self_similarity),
                                "different words": (layers, found.baseline),
                                "gap": (layers, found.adjusted),
                            },
                            "layer", "mean cosine", marks=True,
                        ),
                    ),
                    Plot(
                        "moved", "Away from the input",
                        "Mean cosine of a word's state to its row of the token table, and to its "
                        "own input representation.",
                        lines(
                            {
                                "to the row": (layers, found.to_input_row),
                                "to the input representation": (layers, found.to_input_state),
                            },
                            "layer", "mean cosine", marks=True,
                        ),
                    ),
                )
            ),
        ),
    )  # fmt: skip


def _row(name: str, way: str, a: Agreement) -> tuple[str, ...]:
    return (
        name, way, f"{a.rho:.3f}", f"{a.low:.3f} to {a.high:.3f}", f"{a.pairs:,}",
        f"{a.coverage:.1%}",
    )  # fmt: skip


def _bars(
    ways: Mapping[str, Agreement],
) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    values = np.array([(a.rho, a.low, a.high) for a in ways.values()])
    return list(ways), values[:, 0], values[:, 1], values[:, 2]
