"""The section on the input representation: where it comes from, and what each part adds."""

from __future__ import annotations

import numpy as np

from bert_jax.analysis.report.input_figure import InputFigure
from bert_jax.analysis.report.page import Plot, Section, Side
from bert_jax.analysis.report.plots import lines, stacked
from bert_jax.analysis.representation import PART_NAMES, PartShares, Representation


def input_section(
    representation: Representation, shares: PartShares, sampled: str, tables: dict[str, float]
) -> Section:
    """The input representation of one text, and the parts' shares over many.

    Args:
        shares: of the variance of the sum over many input positions.
        sampled: what these positions were, in words.
        tables: mean length of a row of each of the three tables.
    """
    at = np.arange(len(representation.pieces))
    mean = ", ".join(f"{name} {length:.2f}" for name, length in tables.items())
    return Section(
        "input", "The input representation",
        "What the encoder sees of a text: for each piece one row of the token table, one of the "
        "segment table and one of the position table, added element by element (Devlin et al. "
        "2019, Figure 2). LayerNorm follows.",
        (
            InputFigure(
                representation,
                "Below each name the length of the vector, its cosine to the sum, and the vector "
                "itself: its dimensions gathered into 24 cells, blue below 0 and red above, on one "
                "scale for all rows.",
            ),
            Side(
                (
                    Plot(
                        "part-lengths", "How long each part is",
                        "Length of the three vectors and of their sum at each position. Mean "
                        f"length of all rows of each table: {mean}.",
                        lines(
                            {
                                name: (at, representation.norms[row])
                                for row, name in enumerate((*PART_NAMES, "sum"))
                            },
                            "position", "length", marks=True,
                        ),
                    ),
                    Plot(
                        "part-cosines", "How much of the sum each part is",
                        "Cosine of each part to the sum: 1 where the sum is nothing but this part.",
                        lines(
                            {
                                name: (at, representation.cosines[row])
                                for row, name in enumerate(PART_NAMES)
                            },
                            "position", "cosine to the sum", marks=True,
                        ),
                    ),
                )
            ),
            Plot(
                "shares", "Share of the variance",
                f"Over {sampled}: what part of the variance of the sum is each part's. Shares are "
                "covariances with the sum; they add up to 1, and one is negative where a part "
                "undoes another.",
                stacked(
                    ["variance"],
                    {
                        "token": [shares.token], "segment": [shares.segment],
                        "position": [shares.position],
                    },
                    "share",
                ),
                height=190,
            ),
        ),
    )  # fmt: skip
