"""A plot of what each row of a vocabulary was worth, as SVG text: why 30,000, and not 10,000?"""

import math
from collections.abc import Sequence
from html import escape

_WIDTH, _HEIGHT = 720, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 20, 40, 60


def gain_plot(sizes: Sequence[int], gains: Sequence[float], title: str, unit: str) -> str:
    """Draw the gain of each merge against the size of the vocabulary, both on log scales.

    Args:
        sizes: rows after each merge.
        gains: what each merge was worth; those not above 0 are left out.
        title: stands above the plot.
        unit: of the gains, for the axis.
    """
    points = [(s, g) for s, g in zip(sizes, gains, strict=True) if g > 0]
    if not points:
        points = [(1, 1.0)]
    columns: dict[int, list[tuple[int, float]]] = {}
    x_low, x_high = _decades([s for s, _ in points])
    y_low, y_high = _decades([g for _, g in points])

    def x_of(size: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (math.log10(size) - x_low) / (x_high - x_low)

    def y_of(gain: float) -> float:
        share = (math.log10(gain) - y_low) / (y_high - y_low)
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share

    for size, gain in points:
        columns.setdefault(round(x_of(size)), []).append((size, gain))
    # One point a pixel column, its median: 30,000 points would make a file of megabytes.
    line = " ".join(
        f"{x},{y_of(sorted(g for _, g in column)[len(column) // 2]):.1f}"
        for x, column in sorted(columns.items())
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="24" font-size="15">{escape(title)}</text>',
    ]
    for power in range(x_low, x_high + 1):
        x = x_of(10.0**power)
        parts.append(f'<path d="M{x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="#ddd"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">'
            f"{10**power:,}</text>"
        )
    for power in range(y_low, y_high + 1):
        y = y_of(10.0**power)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
        parts.append(
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_number(power)}</text>'
        )
    parts += [
        f'<polyline points="{line}" fill="none" stroke="#1f5fa8" stroke-width="1.5"/>',
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 16}" text-anchor="middle">rows in the vocabulary'
        "</text>",
        f'<text transform="translate(18 {_HEIGHT / 2}) rotate(-90)" text-anchor="middle">'
        f"gain of the merge ({escape(unit)})</text>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _number(power: int) -> str:
    return f"{10**power:,}" if power >= 0 else f"{10.0**power:g}"
