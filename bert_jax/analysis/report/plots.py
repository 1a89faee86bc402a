"""The few kinds of figure the report has, in one look that suits a light and a dark page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Eight hues of like weight that can be told apart on white and on black.
COLOURS = (
    "#4c8bbf", "#e08a3c", "#57a773", "#c65d57", "#8f7ac2", "#3fa7a3", "#b98b5e", "#8a939c",
)  # fmt: skip
_EACH = 13  # so many whole numbers have each its own tick
SEQUENTIAL = "Viridis"
DIVERGING = ((0.0, "#2f6fae"), (0.5, "#f4f2ee"), (1.0, "#c2452d"))


def _figure(traces: Any) -> go.Figure:
    """A figure of one trace or several, each a dict; Plotly is imported where one is drawn."""
    import plotly.graph_objects as go

    return go.Figure(traces)


def literal(text: str) -> str:
    """Text as Plotly shows it unchanged: it would take `<b>` for bold."""
    return escape(text, quote=False)


def lines(
    series: Mapping[str, tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]],
    x_title: str,
    y_title: str,
    *,
    x_log: bool = False,
    y_log: bool = False,
    marks: bool = False,
) -> go.Figure:
    """Lines through (x, y) of each name."""
    figure = _figure(
        [
            dict(type="scatter",
                x=np.asarray(x), y=_finite(y), name=literal(name), connectgaps=True,
                mode="lines+markers" if marks else "lines",
                line={"width": 2, "color": COLOURS[number % len(COLOURS)]},
                hovertemplate="%{x:.4~g}: %{y:.4~g}<extra>" + literal(name) + "</extra>",
            )
            for number, (name, (x, y)) in enumerate(series.items())
        ]
    )  # fmt: skip
    if marks and all(len(trace.x) and np.ptp(trace.x) < _EACH for trace in figure.data):
        figure.update_xaxes(dtick=1)  # layers and positions: there is nothing between
    return _styled(figure, x_title, y_title, x_log=x_log, y_log=y_log)


def points(
    groups: Mapping[str, tuple[np.ndarray, np.ndarray, Sequence[str]]],
    x_title: str,
    y_title: str,
    *,
    x_log: bool = False,
    square: bool = False,
) -> go.Figure:
    """Points (x, y, what a hover says) of each name, a colour a name."""
    figure = _figure(
        [
            dict(type="scatter",
                x=_finite(x), y=_finite(y), name=literal(name), mode="markers",
                text=[literal(text) for text in texts], hovertemplate="%{text}<extra></extra>",
                marker={"size": 5, "opacity": 0.65, "color": COLOURS[number % len(COLOURS)]},
            )
            for number, (name, (x, y, texts)) in enumerate(groups.items())
        ]
    )  # fmt: skip
    figure.update_layout(legend={"itemsizing": "constant"})  # a point as small is hardly seen
    return _styled(figure, x_title, y_title, x_log=x_log, square=square)


def coloured_points(
    x: np.ndarray,
    y: np.ndarray,
    values: np.ndarray,
    texts: Sequence[str],
    x_title: str,
    y_title: str,
    value_title: str,
) -> go.Figure:
    """Points whose colour tells a third value."""
    figure = _figure(
        dict(type="scatter",
            x=_finite(x), y=_finite(y), mode="markers", hovertemplate="%{text}<extra></extra>",
            text=[literal(text) for text in texts],
            marker={
                "size": 5, "opacity": 0.75, "color": _finite(values), "colorscale": SEQUENTIAL,
                "colorbar": _scale(value_title),
            },
        )
    )  # fmt: skip
    return _styled(figure, x_title, y_title, square=True)


def bars(
    names: Sequence[str],
    values: Sequence[float] | np.ndarray,
    x_title: str,
    y_title: str,
    errors: tuple[np.ndarray, np.ndarray] | None = None,
) -> go.Figure:
    """Upright bars; `errors` are lengths below and above."""
    figure = _figure(
        dict(type="bar",
            x=[literal(name) for name in names], y=_finite(values),
            marker={"color": COLOURS[0]}, hovertemplate="%{x}: %{y:.4~g}<extra></extra>",
            error_y=None if errors is None else {
                "type": "data", "symmetric": False, "arrayminus": _finite(errors[0]),
                "array": _finite(errors[1]), "color": "#8a939c", "thickness": 1.3, "width": 4,
            },
        )
    )  # fmt: skip
    return _styled(figure, x_title, y_title, categories=True)


def grouped_intervals(
    groups: Mapping[str, tuple[Sequence[str], np.ndarray, np.ndarray, np.ndarray]],
    y_title: str,
) -> go.Figure:
    """Beside each other, for each name (categories, value, low, high): bars with intervals."""
    figure = _figure(
        [
            dict(type="bar",
                x=[literal(c) for c in categories], y=_finite(value), name=literal(name),
                marker={"color": COLOURS[number % len(COLOURS)]},
                hovertemplate="%{x}: %{y:.3f}<extra>" + literal(name) + "</extra>",
                error_y={
                    "type": "data", "symmetric": False, "arrayminus": _finite(value - low),
                    "array": _finite(high - value), "color": "#8a939c", "thickness": 1.3,
                    "width": 4,
                },
            )
            for number, (name, (categories, value, low, high)) in enumerate(groups.items())
        ]
    )  # fmt: skip
    return _styled(figure, "", y_title, categories=True)


def stacked(names: Sequence[str], parts: Mapping[str, Sequence[float]], x_title: str) -> go.Figure:
    """Lying bars, each divided into parts."""
    figure = _figure(
        [
            dict(type="bar",
                y=[literal(name) for name in names], x=_finite(values), name=literal(part),
                orientation="h", marker={"color": COLOURS[number % len(COLOURS)]},
                hovertemplate="%{x:.1%}<extra>" + literal(part) + "</extra>",
            )
            for number, (part, values) in enumerate(parts.items())
        ]
    )  # fmt: skip
    figure.update_layout(barmode="relative", xaxis={"tickformat": ".0%"})
    return _styled(figure, x_title, "")


def histogram(values: np.ndarray, x_title: str, y_title: str, bins: int = 60) -> go.Figure:
    """How values are distributed; counted here, so that the page does not hold them all."""
    values = np.asarray(values, np.float64)[np.isfinite(values)]
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    room = max(1e-3 * max(abs(low), abs(high), 1e-3) - (high - low), 0) / 2  # all may be one value
    heights, edges = np.histogram(values, bins, (low - room, high + room))
    figure = _figure(
        dict(type="bar",
            x=(edges[:-1] + edges[1:]) / 2, y=heights, width=np.diff(edges),
            marker={"color": COLOURS[0]}, hovertemplate="%{x:.4~g}: %{y:,}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(bargap=0)
    return _styled(figure, x_title, y_title)


def heatmap(values: np.ndarray, x_title: str, y_title: str) -> go.Figure:
    """A square of cosines."""
    figure = _figure(
        dict(type="heatmap",
            z=np.asarray(values, np.float32), zmid=0, zmin=-1, zmax=1,
            colorscale=[list(stop) for stop in DIVERGING],
            colorbar=_scale("cosine"),
            hovertemplate="%{x} and %{y}: %{z:.3f}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(yaxis={"autorange": "reversed"})
    return _styled(figure, x_title, y_title, square=True)


def _styled(
    figure: go.Figure,
    x_title: str,
    y_title: str,
    *,
    x_log: bool = False,
    y_log: bool = False,
    square: bool = False,
    categories: bool = False,
) -> go.Figure:
    axis: dict[str, Any] = {
        "automargin": True, "zeroline": False, "showline": True, "ticks": "outside", "ticklen": 4,
    }  # fmt: skip
    figure.update_layout(
        template="none",
        font={"family": "system-ui, sans-serif", "size": 13},
        margin={"l": 60, "r": 16, "t": 12, "b": 52},
        hovermode="closest",
        legend={
            "orientation": "h",
            "y": 1.02,
            "yanchor": "bottom",
            "x": 0,
        },
        showlegend=len(figure.data) > 1,
    )
    figure.update_xaxes(**axis, title={"text": x_title, "font": {"size": 13}})
    figure.update_yaxes(**axis, title={"text": y_title, "font": {"size": 13}})
    if x_log:
        figure.update_xaxes(type="log", dtick=1, tickformat=",")
    if y_log:
        figure.update_yaxes(type="log", tickformat="~g")  # may be less than a decade
    if categories:
        figure.update_xaxes(type="category", showgrid=False)
    if square:
        figure.update_yaxes(scaleanchor="x", constrain="domain")
        figure.update_xaxes(constrain="domain")
    return figure


def _scale(title: str) -> dict[str, Any]:
    return {"title": {"text": title, "font": {"size": 13}}, "thickness": 10, "outlinewidth": 0}


def _finite(values: Sequence[float] | np.ndarray) -> np.ndarray | list[float | None]:
    """As it may stand in JSON, which knows no NaN."""
    array = np.asarray(values)
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return array
    return [float(value) if np.isfinite(value) else None for value in array]
