"""Sections on the token table: its shape, and its neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bert_jax.analysis.geometry import Geometry, NormByFrequency, Spectrum
from bert_jax.analysis.nearest import Neighbours
from bert_jax.analysis.report.page import Block, Numbers, Plot, Section, Side, Table
from bert_jax.analysis.report.plots import coloured_points, histogram, lines, points
from bert_jax.analysis.report.search import Search
from bert_jax.analysis.token_rows import COSINE, KINDS
from bert_jax.analysis.words import Outlier

_MOST_POINTS = 4000  # more of them only hide each other


def geometry_section(
    geometry: Geometry,
    spectrum: Spectrum,
    pieces: Sequence[str],
    parts: np.ndarray,
    plane: np.ndarray,
    counts: np.ndarray | None,
    by_frequency: NormByFrequency | None,
) -> Section:
    """The shape of the token table.

    Args:
        geometry, spectrum: of the table [V, D].
        pieces: V strings.
        parts: [V] numbers into `KINDS`.
        plane: [V, 2] the rows along the two strongest directions.
        counts: [V] how often each piece occurs; None where nobody knows.
        by_frequency: lengths against these counts; None where nobody knows.
    """
    width = len(spectrum.variances)
    shown = np.random.default_rng(0).permutation(len(pieces))[:_MOST_POINTS]
    texts = {
        int(i): pieces[i] if counts is None else f"{pieces[i]}  ·  seen {counts[i]:,} times"
        for i in shown
    }
    blocks: list[Block] = [
        Numbers(
            (
                ("mean cosine of two rows", f"{geometry.mean_cosine:.3f}",
                 "0 where rows point everywhere alike"),
                ("after the mean row is taken off", f"{geometry.mean_cosine_centred:.4f}",
                 "what is left of it"),
                ("isotropy", f"{geometry.isotropy:.3f}",
                 "1 for a round cloud (Mu & Viswanath 2018)"),
                ("effective rank", f"{geometry.effective_rank:.0f} of {width}",
                 "directions really used (Roy & Vetterli 2007)"),
                ("in the mean row", f"{geometry.common_share:.1%}",
                 "share of the mean squared length that all rows have in common"),
                ("mean length", f"{geometry.norms.mean():.3f}",
                 f"from {geometry.norms.min():.2f} to {geometry.norms.max():.2f}"),
            )
        ),
        Plot(
            "map", "Map by kind of piece",
            "The two directions along which rows differ most (PCA), "
            f"{spectrum.explained[:2].sum():.1%} of all variance: what lies together on the map "
            "need not lie together in the table. Click a kind in the legend to hide it; hover to "
            f"see the piece. {_of(len(shown), len(pieces))}",
            points(
                {
                    KINDS[part]: (
                        plane[rows, 0], plane[rows, 1], [texts[int(i)] for i in rows],
                    )
                    for part in range(len(KINDS))
                    if len(rows := shown[parts[shown] == part])
                },
                "first direction", "second direction", square=True,
            ),
            height=560,
        ),
    ]  # fmt: skip
    if counts is not None and by_frequency is not None:
        blocks.append(_frequency_plots(geometry, plane, counts, by_frequency, shown, texts))
    blocks.append(
        Side(
            (
                Plot(
                    "lengths", "Lengths of the rows",
                    "How many rows have which length.",
                    histogram(geometry.norms, "length", "rows"),
                ),
                Plot(
                    "variance", "Variance by direction",
                    "How much of the rows' variance the first so many directions hold. The closer "
                    "to the straight line, the more evenly the width is used.",
                    lines(
                        {
                            "this table": (
                                np.arange(width + 1),
                                np.concatenate([[0], np.cumsum(spectrum.explained)]),
                            ),
                            "a round cloud": ([0, width], [0.0, 1.0]),
                        },
                        "directions", "share of variance",
                    ),
                ),
            )
        )
    )  # fmt: skip
    return Section(
        "tokens", "The token table",
        "One row for each piece of the vocabulary. Where do rows lie, and how much of the space do "
        "they use?",
        tuple(blocks),
    )  # fmt: skip


def _frequency_plots(
    geometry: Geometry,
    plane: np.ndarray,
    counts: np.ndarray,
    by_frequency: NormByFrequency,
    shown: np.ndarray,
    texts: dict[int, str],
) -> Side:
    seen = shown[counts[shown] > 0]
    rho = by_frequency.agreement
    filled = by_frequency.sizes > 0
    centres = np.sqrt(by_frequency.edges[:-1] * by_frequency.edges[1:].astype(float))
    figure = points(
        {"rows": (counts[seen], geometry.norms[seen], [texts[int(i)] for i in seen])},
        "times seen", "length", x_log=True,
    )  # fmt: skip
    figure.add_trace(
        lines({"median": (centres[filled], by_frequency.medians[filled])}, "", "").data[0]
    )
    figure.data[1].line.color = "#c65d57"
    figure.update_layout(showlegend=True)
    unseen = (
        ""
        if math.isnan(by_frequency.unseen)
        else f" Rows never seen have a median length of {by_frequency.unseen:.2f}."
    )
    return Side(
        (
            Plot(
                "norm-frequency", "Length against frequency",
                f"Spearman's ρ = {rho.rho:.2f} ({rho.low:.2f} to {rho.high:.2f}) over the "
                f"{rho.pairs:,} pieces that occur. The line is the median.{unseen}",
                figure, height=420,
            ),
            Plot(
                "map-frequency", "Map by frequency",
                "The map above, coloured by how often a piece occurs. A gradient means that the "
                "table stores frequency in its strongest directions.",
                coloured_points(
                    plane[seen, 0], plane[seen, 1], np.log10(counts[seen]),
                    [texts[int(i)] for i in seen], "first direction", "second direction",
                    "log₁₀ seen",
                ),
                height=420,
            ),
        )
    )  # fmt: skip


def neighbours_section(
    search: Search,
    words: Sequence[tuple[str, str, str, str]],
    missing: Sequence[str],
    analogies: Table | None,
    outliers: Table | None,
) -> Section:
    """Who lies next to whom.

    Args:
        search: the box.
        words: (word, its pieces, times seen, its neighbours) each.
        missing: words that the vocabulary cannot write.
    """
    blocks: list[Block] = [search]
    if words:
        left_out = f" Not to be written with this vocabulary: {', '.join(missing)}." * bool(missing)
        blocks.append(
            Table(
                ("word", "pieces", "seen", "nearest rows (cosine)"), words,
                "A word of several pieces is the mean of their rows." + left_out,
            )
        )  # fmt: skip
    blocks += [table for table in (analogies, outliers) if table is not None]
    return Section(
        "neighbours", "Neighbours",
        f"The rows whose directions are most alike, over the whole table, by {COSINE}. Click a "
        "neighbour to walk on from it.",
        tuple(blocks),
    )  # fmt: skip


def neighbour_list(pieces: Sequence[str], found: Neighbours, number: int) -> str:
    """The neighbours of query `number` as a line of text."""
    return ", ".join(f"{pieces[i]} {cosine:.2f}" for i, cosine in found.of(number))


def analogies_table(
    questions: Sequence[tuple[str, str, str, str]], answers: Sequence[str], right: int
) -> Table:
    """Analogies and their answers.

    Args:
        questions: (a, b, c, the answer people give).
        answers: for each the nearest rows, as text.
        right: how many nearest rows are the answer people give.
    """
    return Table(
        ("a", "is to b", "as c", "is to", "nearest rows"),
        [(*question, answer) for question, answer in zip(questions, answers, strict=True)][:50],
        f"Analogies, by b − a + c: {right} of {len(questions)} right at first place"
        f" ({right / max(len(questions), 1):.0%}). {_of(min(50, len(questions)), len(questions))}",
    )


def outliers_table(groups: Sequence[Sequence[str]], found: Sequence[Outlier]) -> Table:
    """Groups of words and which does not belong."""
    return Table(
        ("group", "does not belong", "its mean cosine to the others", "the others'"),
        [
            (
                ", ".join(words), words[one.index], f"{one.fit[one.index]:.2f}",
                f"{np.delete(one.fit, one.index).mean():.2f}",
            )
            for words, one in zip(groups, found, strict=True)
        ],
        "The word that fits a group least (Camacho-Collados & Navigli 2016).",
    )  # fmt: skip


def _of(shown: int, whole: int) -> str:
    return "" if shown >= whole else f"Shown are {shown:,} of {whole:,}, drawn at random."
