"""Sections on how the tables came to be: over one run, between two checkpoints, row by row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bert_jax.analysis.comparison import Comparison, Moment
from bert_jax.analysis.report.page import Numbers, Plot, Section, Side, Table
from bert_jax.analysis.report.plots import histogram, lines, points

_MOST_POINTS = 4000


def timeline_section(moments: Sequence[Moment]) -> Section:
    """How the tables formed, from the checkpoints of one run."""
    steps = [m.step for m in moments]

    def plot(key: str, title: str, caption: str, y_title: str, **series: str) -> Plot:
        return Plot(
            key, title, caption,
            lines(
                {name.replace("_", " "): (steps, [getattr(m, field) for m in moments])
                 for name, field in series.items()},
                "step", y_title, marks=True,
            ),
            height=300,
        )  # fmt: skip

    return Section(
        "timeline", "How the tables formed",
        f"The {len(moments)} checkpoints of this run, steps {steps[0]:,} to {steps[-1]:,}, each "
        "measured beside the last.",
        (
            Side(
                (
                    plot("towards-end", "Towards the last checkpoint",
                         "Cosine of each row to itself at the end, and the share of its neighbours "
                         "that it keeps to the end.",
                         "share or cosine", cosine_to_last="cosine_to_last",
                         neighbours_kept="neighbours_kept"),
                    plot("procrustes-time", "Shape",
                         "Distance to the last table after the best rotation: 0 is the same shape.",
                         "Procrustes distance", distance="procrustes_to_last"),
                    plot("length-time", "Length", "Mean length of the token rows.",
                         "mean length", length="token_norm"),
                    plot("rank-time", "Directions used", "Effective rank of the token table.",
                         "effective rank", rank="effective_rank"),
                    plot("cosine-time", "Common part",
                         "Mean cosine of two token rows, and of two positions beside each other.",
                         "mean cosine", token_rows="mean_cosine",
                         adjacent_positions="position_neighbour_cosine"),
                    plot("segment-time", "Segments", "Angle between the two segment rows.",
                         "degrees", angle="segment_angle"),
                )
            ),
        ),
    )  # fmt: skip


def comparison_section(
    comparison: Comparison, pieces: Sequence[str], name: str, only_one: int
) -> Section:
    """Two checkpoints.

    Args:
        comparison: over n rows that both have.
        pieces: n strings.
        name: of the other checkpoint.
        only_one: pieces that only one of them has.
    """
    kept = comparison.kept
    same_width = not np.isnan(comparison.procrustes)
    order = np.argsort(kept, kind="stable")[:20]
    changes = [
        (
            pieces[comparison.sampled[i]], f"{kept[i]:.0%}",
            ", ".join(pieces[j] for j in comparison.gained(int(i))[:6]),
            ", ".join(pieces[j] for j in comparison.lost(int(i))[:6]),
        )
        for i in order
    ]  # fmt: skip
    blocks: list = [
        Numbers(
            (
                ("rows compared", f"{len(pieces):,}", f"{only_one:,} pieces only one of them has"),
                ("mean cosine, row by row", f"{comparison.cosines.mean():.3f}" if same_width
                 else "–", "as they stand" if same_width else "the widths differ"),
                ("after rotation", f"{comparison.aligned.mean():.3f}" if same_width else "–",
                 "mean cosine after the best rotation"),
                ("Procrustes distance", f"{comparison.procrustes:.3f}" if same_width else "–",
                 "0: the same shape; towards 1: unrelated"),
                ("neighbours kept", f"{kept.mean():.1%}",
                 f"of each row's {comparison.before.shape[1]}, over {len(kept):,} rows"),
            )
        )
    ]  # fmt: skip
    if same_width:
        blocks.append(
            Side(
                (
                    Plot("row-cosines", "Row by row", "Cosine of each row to itself in the other.",
                         histogram(comparison.cosines, "cosine", "rows"), height=300),
                    Plot("aligned-cosines", "After the best rotation",
                         "The same, after the other table was turned to fit.",
                         histogram(comparison.aligned, "cosine", "rows"), height=300),
                )
            )
        )  # fmt: skip
    blocks.append(
        Table(
            ("piece", "kept", "gained in this one", "lost from the other"), changes,
            "Pieces whose neighbours changed most, of the rows that were looked at.",
        )
    )  # fmt: skip
    return Section(
        "comparison", "Two checkpoints",
        f"This checkpoint beside {name}: which rows moved, and whose neighbours changed.",
        tuple(blocks),
    )  # fmt: skip


def updates_section(
    updates: np.ndarray,
    as_input: np.ndarray,
    drift: np.ndarray,
    pieces: Sequence[str],
    counts: np.ndarray | None,
    steps: int,
) -> Section:
    """Which rows training touched, from the update audit of a run.

    Args:
        updates: [V] steps that changed each row's values.
        as_input: [V] steps whose batch had the piece as input.
        drift: [V] how far each row is from where it began.
        pieces: V strings.
        counts: [V] how often each piece occurs; None orders the rows by `as_input`.
        steps: how many steps were audited.
    """
    order = np.argsort(-(as_input if counts is None else counts), kind="stable")
    ranks = np.unique(np.geomspace(1, len(order), _MOST_POINTS).astype(int)) - 1
    rows = order[ranks]
    texts = [
        f"{pieces[i]}  ·  changed {updates[i]:,} times, {as_input[i]:,} times as input, "
        f"moved {drift[i]:.3g}"
        for i in rows
    ]
    unseen = as_input == 0
    moved_unseen = f"{drift[unseen].mean():.2g}" if unseen.any() else "–"
    return Section(
        "updates", "Which rows training touched",
        "From the run's own update audit. A row can change although its piece was not in the "
        "batch: through a tied decoder, momentum or weight decay.",
        (
            Numbers(
                (
                    ("steps audited", f"{steps:,}", ""),
                    ("never in a batch", f"{unseen.mean():.1%}", "of the rows"),
                    ("never changed", f"{(updates == 0).mean():.1%}", "of the rows"),
                    ("median", f"{np.median(as_input):,.0f}", "steps with a row as input; "
                     f"5th percentile {np.percentile(as_input, 5):,.0f}"),
                    ("rows never in a batch moved", moved_unseen,
                     f"on average; the others {drift[~unseen].mean():.2g}"
                     if not unseen.all() else "on average"),
                )
            ),
            Plot(
                "updates", "Steps against frequency rank",
                "Each point a row; the most frequent piece is at the left. Where the two clouds "
                "part, rows changed without being read.",
                points(
                    {
                        "changed": (ranks + 1, updates[rows], texts),
                        "in the batch as input": (ranks + 1, as_input[rows], texts),
                    },
                    "frequency rank", "steps", x_log=True,
                ),
            ),
        ),
    )  # fmt: skip
