"""A plot of a few lines, as SVG text: no plotting library, small files, sharp in a browser."""

import math
from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT = 720, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 230, 40, 60
_COLOURS = ("#1f5fa8", "#c44e29", "#2f8f4e", "#7a4fa3", "#a58a1c", "#3aa6b9", "#c2477f", "#555555")

Line = Sequence[tuple[float, float]]


def line_plot(
    lines: Mapping[str, Line],
    title: str,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    log_y: bool = False,
) -> str:
    """Draw lines over one pair of axes, with their names at the right.

    Args:
        lines: points (x, y) by name. What is not finite is left out, and what is not above 0 on a
            logarithmic axis.
        title: stands above the plot.
        x_label: names the x axis.
        y_label: names the y axis.
        log_x: whether the x axis is logarithmic.
        log_y: whether the y axis is.
    """

    def drawable(value: float, log: bool) -> bool:
        return math.isfinite(value) and (value > 0 or not log)

    lines = {
        name: [(x, y) for x, y in line if drawable(x, log_x) and drawable(y, log_y)]
        for name, line in lines.items()
    }
    points = [point for line in lines.values() for point in line] or [(1.0, 1.0)]
    x_ticks = _powers([x for x, _ in points]) if log_x else round_steps([x for x, _ in points])
    y_ticks = _powers([y for _, y in points]) if log_y else round_steps([y for _, y in points])

    def place(value: float, ticks: Sequence[float], log: bool) -> float:
        low, high, value = (math.log10(v) if log else v for v in (ticks[0], ticks[-1], value))
        return (value - low) / (high - low)

    def x_of(x: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * place(x, x_ticks, log_x)

    def y_of(y: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * place(y, y_ticks, log_y)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="24" font-size="15">{escape(title)}</text>',
    ]
    for x in x_ticks:
        parts.append(f'<path d="M{x_of(x):.1f} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="#ddd"/>')
        parts.append(
            f'<text x="{x_of(x):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{x:,g}'
            "</text>"
        )
    for y in y_ticks:
        parts.append(f'<path d="M{_LEFT} {y_of(y):.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y_of(y) + 4:.1f}" text-anchor="end">{y:,g}</text>')
    for number, (name, line) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in line)
        top = _TOP + 12 + 20 * number
        parts += [
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>',
            f'<path d="M{_WIDTH - _RIGHT + 16} {top - 4}h22" stroke="{colour}" stroke-width="3"/>',
            f'<text x="{_WIDTH - _RIGHT + 44}" y="{top}">{escape(name)}</text>',
        ]
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts += [
        f'<text x="{middle}" y="{_HEIGHT - 16}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text transform="translate(18 {_HEIGHT / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def stacked(*plots: str) -> str:
    """One SVG of several from `line_plot`, each below the one before."""
    inner = [
        plot.replace("<svg ", f'<svg y="{_HEIGHT * i}" width="{_WIDTH}" height="{_HEIGHT}" ', 1)
        for i, plot in enumerate(plots)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT * len(plots)}">\n'
        + "".join(inner)
        + "</svg>\n"
    )


def _powers(values: Sequence[float]) -> list[float]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [10.0**power for power in range(low, max(high, low + 1) + 1)]


def round_steps(values: Sequence[float]) -> list[float]:
    """About five round numbers from below the least to above the greatest."""
    low, high = min(values), max(values)
    rough = max(high - low, 1e-9) / 5
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * i, 12) for i in range(first, max(last, first + 1) + 1)]
