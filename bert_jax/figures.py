"""Figures as SVG text: lines, intervals, points, counts of pairs. The same numbers, the same bytes.

Matplotlib draws them (the extra `[data]`), without its `pyplot`, whatever style the caller has set.
Names are shown as they are, also `$` and `<`. What each function returns is an SVG file by itself
and may stand in an HTML page.

    write_text("loss.svg", draw_lines(Lines({"seed 0": [(1, 6.9), (2, 5.1)]}, y_label="loss")))
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import statistics
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Point = tuple[float, float]
Interval = tuple[float, float, float]  # least, middle, greatest

_BLUE, _RED, _GREY = "#1f5fa8", "#c44e29", "#555555"
_COLOURS = (_BLUE, _RED, "#2f8f4e", "#7a4fa3", "#a58a1c", "#3aa6b9", "#c2477f", _GREY)
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "bert_jax",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.titlesize": 11.5,
    "axes.titlelocation": "left",
    "axes.edgecolor": "#999999",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "xtick.color": "#999999",
    "ytick.color": "#999999",
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
}
_COLUMNS = 600  # a line of more points is drawn by the median of each such part of the x axis
_MOST_POINTS = 3000  # thousands of circles would make a slow page


@dataclass(frozen=True)
class Lines:
    """Lines over one pair of axes, with their names at the right.

    Attributes:
        lines: points (x, y) by name, x rising. What is not finite is left out, and what is not
            above 0 on a logarithmic axis.
        title: stands above.
        x_label: names the x axis.
        y_label: names the y axis.
        log_x: whether the x axis is logarithmic.
        log_y: whether the y axis is.
    """

    lines: Mapping[str, Sequence[Point]]
    title: str = ""
    x_label: str = ""
    y_label: str = ""
    log_x: bool = False
    log_y: bool = False


def draw_lines(*panels: Lines, height: float = 4.2) -> str:
    """Draw panels of lines, each below the one before, each `height` inches high."""
    with _style():
        figure = _figure(8.6, height * len(panels))
        for number, panel in enumerate(panels, 1):
            _draw_panel(figure.add_subplot(len(panels), 1, number), panel)
        return _svg(figure)


def draw_points(points: Sequence[Point], title: str, x_label: str, y_label: str) -> str:
    """Draw points (x, y); of more than 3,000, evenly chosen ones."""
    points = [point for point in points if all(map(math.isfinite, point))]
    points = points[:: max(1, math.ceil(len(points) / _MOST_POINTS))]
    with _style():
        figure = _figure(8.6, 4.2)
        axes = figure.add_subplot()
        axes.plot(*_columns(points), "o", color=_BLUE, alpha=0.35, markersize=4, markeredgewidth=0)
        axes.set(title=title, xlabel=x_label, ylabel=y_label)
        _number(axes.xaxis)
        _number(axes.yaxis)
        return _svg(figure)


def draw_intervals(
    title: str, cases: Sequence[str], panels: Mapping[str, Sequence[Interval]]
) -> str:
    """Draw dots with their intervals: a row a case, panels side by side.

    Args:
        title: stands above the figure.
        cases: the names of the rows, from the top. A red line goes through the first.
        panels: an interval a case, by the name of the measure.
    """
    with _style():
        figure = _figure(1.6 + 2.1 * len(panels), 1.1 + 0.27 * len(cases))
        figure.suptitle(title, x=0.01, horizontalalignment="left", fontsize=11.5)
        rows = range(len(cases))
        for number, (name, intervals) in enumerate(panels.items(), 1):
            axes = figure.add_subplot(1, len(panels), number)
            if intervals:
                axes.axvline(intervals[0][1], color=_RED, linewidth=1)
            axes.hlines(rows, *_columns([(low, high) for low, _, high in intervals]), color=_BLUE)
            axes.plot([middle for _, middle, _ in intervals], rows, "o", color=_BLUE, markersize=5)
            axes.set_title(name, loc="center", fontsize=10)
            axes.set_yticks(rows, cases if number == 1 else [])
            axes.set_ylim(len(cases) - 0.4, -0.6)
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
            axes.grid(visible=False, axis="y")
            axes.locator_params(axis="x", nbins=4)
            _number(axes.xaxis)
        return _svg(figure)


def draw_matrix(counts: Mapping[tuple[str, str], int], rows: str, columns: str) -> str:
    """Draw how often each pair occurs: (row, column) a cell, shaded by its share of the row.

    Args:
        counts: by (name of the row, name of the column); a pair that is absent has none.
        rows: what the rows are.
        columns: what the columns are.
    """
    from matplotlib.patches import Rectangle

    names = sorted({name for pair in counts for name in pair})
    totals = {name: sum(n for (row, _), n in counts.items() if row == name) for name in names}
    place = {name: number for number, name in enumerate(names)}
    side = 0.55 * len(names) + 0.08 * max(map(len, names), default=0) + 0.6
    with _style():
        figure = _figure(side, side)
        axes = figure.add_subplot()
        for (row, column), n in sorted(counts.items()):
            share, at = n / max(totals[row], 1), (place[column], place[row])
            shade = _BLUE if row == column else _RED
            cell = Rectangle(at, 0.96, 0.96, color=shade, alpha=0.06 + 0.84 * share, linewidth=0)
            axes.add_patch(cell)
            axes.text(
                at[0] + 0.48, at[1] + 0.48, f"{n:,}", color="white" if share > 0.5 else "black",
                horizontalalignment="center", verticalalignment="center",
            )  # fmt: skip
        middles = [number + 0.5 for number in range(len(names))]
        axes.set(xlim=(0, max(len(names), 1)), ylim=(max(len(names), 1), 0), aspect="equal")
        axes.set(xlabel=columns, ylabel=rows)
        axes.set_xticks(middles, names, rotation=45, ha="left", rotation_mode="anchor")
        axes.set_yticks(middles, names)
        axes.xaxis.set_label_position("top")
        axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        axes.spines[:].set_visible(False)
        axes.grid(visible=False)
        return _svg(figure)


def _draw_panel(axes: Axes, panel: Lines) -> None:
    drawn, places = [], 0
    for number, line in enumerate(panel.lines.values()):
        colour = _COLOURS[number % len(_COLOURS)]
        shown = _thinned(_drawable(line, panel), panel.log_x)
        drawn += axes.plot(*_columns(shown), color=colour, linewidth=1.6)
        places += len(shown)
    if len(drawn) > 1:
        axes.legend(drawn, panel.lines, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0)
    axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
    if panel.log_x and places:
        axes.set_xscale("log")
    if panel.log_y and places:
        axes.set_yscale("log")
    _number(axes.xaxis)
    _number(axes.yaxis)


def _drawable(line: Sequence[Point], panel: Lines) -> list[Point]:
    def stays(value: float, log: bool) -> bool:
        return math.isfinite(value) and (value > 0 or not log)

    return [(x, y) for x, y in line if stays(x, panel.log_x) and stays(y, panel.log_y)]


def _thinned(line: list[Point], log_x: bool) -> list[Point]:
    """The median of each of 600 parts of the x axis, where there are more points than that."""
    if len(line) <= _COLUMNS:
        return line
    places = [math.log(x) if log_x else x for x, _ in line]
    low, high = min(places), max(places)
    parts: dict[int, list[Point]] = {}
    for place, point in zip(places, line, strict=True):
        parts.setdefault(round(_COLUMNS * (place - low) / ((high - low) or 1)), []).append(point)
    return [
        (part[len(part) // 2][0], statistics.median_low(y for _, y in part))
        for part in parts.values()
    ]


def _columns(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _number(axis: Axis) -> None:
    """Put plain numbers at round places: 10,000 and 0.001, on logarithmic axes too."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    if axis.get_scale() == "log":
        low, high = axis.get_view_interval()
        short = high < 300 * low  # the powers of ten alone would be one or two
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if short else (1,)))
        axis.set_minor_formatter(NullFormatter())


@contextlib.contextmanager
def _style() -> Iterator[None]:
    """Draw in our style, whatever the caller's is."""
    import matplotlib.style

    with matplotlib.style.context(["default", _STYLE]), warnings.catch_warnings():
        # The reader's browser has the letters that the font here lacks.
        warnings.filterwarnings("ignore", r"Glyph .* missing", UserWarning)
        yield


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure((width, height), layout="constrained")


def _svg(figure: Figure) -> str:
    """Return the element; the declarations before it are of no use in a page, or in a file."""
    written = io.StringIO()
    figure.savefig(
        written, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
    )
    text = written.getvalue()
    # Several figures may share a page: only ids made of what they name may stay.
    return re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", text[text.index("<svg") :])
