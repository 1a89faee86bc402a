"""Dots with their intervals, a row a case and a panel a measure, as SVG text."""

from collections.abc import Mapping, Sequence
from html import escape

from .line_plot import round_steps

_NAMES, _PANEL, _GAP, _ROW, _TOP, _BOTTOM = 130, 170, 24, 22, 54, 30

Interval = tuple[float, float, float]  # least, middle, greatest


def interval_plot(
    title: str, cases: Sequence[str], panels: Mapping[str, Sequence[Interval]]
) -> str:
    """Draw panels side by side; a vertical line goes through the first case of each.

    Args:
        title: stands above the plot.
        cases: the names of the rows, from the top.
        panels: an interval a case, by the name of the measure.
    """
    height = _TOP + _ROW * len(cases) + _BOTTOM
    width = _NAMES + (_PANEL + _GAP) * len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="8" y="20" font-size="15">{escape(title)}</text>',
    ]
    for row, case in enumerate(cases):
        y = _TOP + _ROW * (row + 0.5)
        parts.append(f'<text x="8" y="{y + 4}">{escape(case)}</text>')
    for number, (name, intervals) in enumerate(panels.items()):
        left = _NAMES + (_PANEL + _GAP) * number
        ticks = round_steps([value for interval in intervals for value in interval])

        def x_of(value: float, left: float = left, ticks: Sequence[float] = ticks) -> float:
            return left + _PANEL * (value - ticks[0]) / (ticks[-1] - ticks[0])

        middle, bottom = left + _PANEL / 2, _TOP + _ROW * len(cases)
        parts.append(f'<text x="{middle}" y="44" text-anchor="middle">{escape(name)}</text>')
        for tick in ticks[:: max(1, len(ticks) // 3)]:
            x = x_of(tick)
            parts.append(f'<path d="M{x:.1f} {_TOP}V{bottom}" stroke="#ddd"/>')
            parts.append(
                f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>'
            )
        x = x_of(intervals[0][1])
        parts.append(f'<path d="M{x:.1f} {_TOP}V{bottom}" stroke="#c44e29" stroke-width="1"/>')
        for row, (low, value, high) in enumerate(intervals):
            y = _TOP + _ROW * (row + 0.5)
            parts += [
                f'<path d="M{x_of(low):.1f} {y}H{x_of(high):.1f}" stroke="#1f5fa8"/>',
                f'<circle cx="{x_of(value):.1f}" cy="{y}" r="3.5" fill="#1f5fa8"/>',
            ]
    return "\n".join([*parts, "</svg>"]) + "\n"
