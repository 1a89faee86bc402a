"""Sections on the two small tables: positions and segments."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bert_jax.analysis.geometry import Positions, Segments
from bert_jax.analysis.position_reading import MOST_ROWS, PositionReading
from bert_jax.analysis.report.page import Numbers, Plot, Section, Side, Table
from bert_jax.analysis.report.plots import bars, heatmap, lines

_MOST_CELLS = 512  # on a side of the map of positions
_DIMENSIONS = 40


def positions_section(positions: Positions, readings: Mapping[str, PositionReading]) -> Section:
    """The position table; `readings` of it and of what it is compared with, by name."""
    length = len(positions.norms)
    strongest = positions.strongest_period
    half = positions.half_distance
    return Section(
        "positions", "The position table",
        "One row for each place in a text, learned like any other row. Nothing tells the model "
        "that place 7 lies beside place 8: whether the table has found out shows here.",
        (
            Numbers(
                (
                    ("beside each other", f"{positions.decay[1]:.3f}",
                     "mean cosine of two positions that follow each other"),
                    ("half as alike at", f"{half}" if half < length else "never",
                     "first distance at which the mean cosine is at most ½"),
                    ("strongest period", f"{strongest:.4g}",
                     f"positions, with {positions.power.max():.0%} of the variance; {length} means "
                     "one slow bend, not a rhythm"),
                    ("mean length", f"{positions.norms.mean():.3f}",
                     f"from {positions.norms.min():.2f} to {positions.norms.max():.2f}"),
                )
            ),
            Plot(
                "position-map", "Which positions look alike",
                "Cosine of every two positions, seen from the mean row. A bright band along the "
                "diagonal: near positions are alike. Stripes beside it: a rhythm."
                + f" The first {_MOST_CELLS} positions." * (length > _MOST_CELLS),
                heatmap(positions.cosines[:_MOST_CELLS, :_MOST_CELLS], "position", "position"),
                height=560,
            ),
            Side(
                (
                    Plot(
                        "position-decay", "How similarity fades with distance",
                        "Mean cosine over all pairs of positions that far apart.",
                        lines(
                            {"mean cosine": (np.arange(length), positions.decay)},
                            "distance", "mean cosine",
                        ),
                    ),
                    Plot(
                        "position-spectrum", "What repeats",
                        "Share of the table's variance by period, from the discrete Fourier "
                        "transform over positions. A peak at a short period is a rhythm; all of it "
                        "at long periods, slow change.",
                        lines(
                            {"share": (positions.periods, positions.power)},
                            "period in positions", "share of variance", x_log=True, y_log=True,
                        ),
                    ),
                )
            ),
            Plot(
                "position-lengths", "Lengths of the rows",
                "Positions that training reached seldom often keep a length of their own.",
                lines({"length": (np.arange(length), positions.norms)}, "position", "length"),
                height=280,
            ),
            *((_readings(readings, length),) if readings else ()),
        ),
    )  # fmt: skip


def _readings(readings: Mapping[str, PositionReading], length: int) -> Table:
    columns = ("absolute", "ridge", "order", "order_unseen")
    return Table(
        ("read from", "place, least squares", "place, ridge", "order", "order, rows unseen"),
        [
            (
                name,
                *(
                    f"{getattr(found, column):{form}} ± {found.deviations[column]:{form}}"
                    for column, form in zip(columns, (".2f", ".2f", ".1%", ".1%"), strict=True)
                ),
            )
            for name, found in readings.items()
        ],
        "What a weighted sum of a row tells (Wang & Chen 2020), with the standard deviation over "
        "draws of the five folds: the mean error of its place, in positions, by least squares (the "
        "paper's) and by ridge regression; how often two rows are put into the wrong order, by 512 "
        "random pairs (the paper's) and over all pairs of rows that training has not seen. Beside "
        "the table a sinusoid of its size and random vectors. Who knows nothing is wrong by "
        f"{min(length, MOST_ROWS) / 4:g} positions, and about half of the orders.",
    )


_ONE_READ = (
    " Pretrained by masked LM alone, this run has never read the second: as it was drawn, but "
    "for weight decay, and knows nothing."
)


def segments_section(segments: Segments, one_read: bool = False) -> Section:
    """The segment table; `one_read`: training has read but its first row."""
    norms = ", ".join(f"{norm:.3f}" for norm in segments.norms)
    if len(segments.norms) < 2:
        return Section(
            "segments", "The segment table", "This model has a single segment.",
            (Numbers((("length", norms, "of its only row"),)),),
        )  # fmt: skip
    first = segments.dimensions[:_DIMENSIONS]
    return Section(
        "segments", "The segment table",
        "Two rows: one is added to every piece of sentence A, the other to every piece of sentence "
        "B. Only their difference can tell the two apart."
        + (_ONE_READ if one_read else ""),
        (
            Numbers(
                (
                    ("angle", f"{segments.angles[0, 1]:.1f}°",
                     "between the two rows; 90° for rows that know nothing of each other"),
                    ("lengths", norms, "of the rows"),
                    ("length of the difference", f"{segments.difference_norm:.3f}",
                     "beside the lengths of token rows: how loudly A and B are told apart"),
                    ("half of it in", f"{segments.half_in} of {len(segments.difference)}",
                     "dimensions; few of them: the difference is a flag, not a change of all"),
                )
            ),
            Plot(
                "segment-difference", "Where the two rows differ",
                f"The {len(first)} dimensions in which B − A is largest.",
                bars([str(d) for d in first], segments.difference[first], "dimension", "B − A"),
                height=300,
            ),
        ),
    )  # fmt: skip
