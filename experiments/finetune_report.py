"""The report page of a fine-tuning run: one HTML file with everything in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from bert_jax.tasks.report import Confusion, Mistakes, Points, Shown, Table
from bert_jax.tasks.task import Task

_COLOURS = ("#1f5fa8", "#c0392b", "#2d8a4e", "#8e5aa8", "#b8860b", "#444444")
_MISTAKES = 25
_STYLE = (
    "body{font:15px/1.45 sans-serif;max-width:62em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:.6em 0}td,th{padding:.25em .7em;text-align:left;"
    "border-bottom:1px solid #ddd;vertical-align:top}td.n,th.n{text-align:right}"
    "svg{max-width:100%}.wrong{color:#c0392b}"
)

Rows = list[dict[str, Any]]


def write_report(
    workdir: Path,
    task: Task,
    predictions: Mapping[str, Rows],
    result: Mapping[str, Any],
    curves: Mapping[str, Rows],
) -> None:
    """Write `workdir/report.html`.

    Args:
        workdir: an existing directory.
        task: what was learned.
        predictions: by part, as `Task.predictions` gives them.
        result: the content of result.json.
        curves: `metrics SEED` and `heldout SEED`, the lines of these files.
    """
    parts = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(workdir.name)}"
        f"</title><style>{_STYLE}</style><h1>{escape(workdir.name)}</h1>",
        _score_table(result["scores"]),
        "<h2>Learning curves</h2>",
        _curve("training loss", "loss", _of(curves, "metrics")),
        _curve(_main(result), f"dev_{_main(result)}", _of(curves, "heldout")),
    ]
    for part, rows in predictions.items():
        parts.append(f"<h2>The {escape(part)} part, by the best seed</h2>")
        for shown in task.shown(rows):
            parts += _drawn(shown)
    (workdir / "report.html").write_text("\n".join(parts) + "\n", encoding="utf-8")


def confusion(truth: Sequence[str], predicted: Sequence[str]) -> dict[tuple[str, str], int]:
    """How often each pair of (true, predicted) label occurs."""
    return dict(Counter(zip(truth, predicted, strict=True)))


def label_scores(counts: Mapping[tuple[str, str], int]) -> dict[str, tuple[float, float, float]]:
    """Precision, recall and F1 of each label from the counts of `confusion`."""
    labels = sorted({label for pair in counts for label in pair})
    found = {}
    for label in labels:
        right = counts.get((label, label), 0)
        true = sum(n for (t, _), n in counts.items() if t == label)
        guessed = sum(n for (_, p), n in counts.items() if p == label)
        found[label] = (
            right / max(guessed, 1),
            right / max(true, 1),
            2 * right / max(guessed + true, 1),
        )
    return found


def _drawn(shown: Shown) -> list[str]:
    match shown:
        case Table(header, rows):
            return [_table(header, rows)]
        case Confusion(truth, predicted):
            return _labels(confusion(truth, predicted))
        case Points(values):
            return [_scatter(values)]
        case Mistakes():
            return [_mistakes(shown)]


def _labels(counts: Mapping[tuple[str, str], int]) -> list[str]:
    table = [
        (label, *(f"{x:.3f}" for x in scores)) for label, scores in label_scores(counts).items()
    ]
    return [_table(("label", "precision", "recall", "F1"), table), _matrix(counts)]


def _matrix(counts: Mapping[tuple[str, str], int]) -> str:
    """The confusion matrix as a picture: a row a true label, a column a predicted one."""
    labels = sorted({label for pair in counts for label in pair})
    side, left, top = 44, 130, 110
    size = side * len(labels)
    totals = {t: sum(n for (x, _), n in counts.items() if x == t) for t in labels}
    parts = [
        f'<svg viewBox="0 0 {left + size + 10} {top + size + 10}" width="{left + size + 10}"'
        ' font-family="sans-serif" font-size="12">',
        f'<text x="4" y="{top - 8}" fill="#777">true ↓ predicted →</text>',
    ]
    for i, true in enumerate(labels):
        y = top + i * side
        parts.append(
            f'<text x="{left - 6}" y="{y + 26}" text-anchor="end">{escape(true)}</text>'
            f'<text transform="translate({left + i * side + 26} {top - 6}) rotate(-50)">'
            f"{escape(true)}</text>"
        )
        for j, guess in enumerate(labels):
            n = counts.get((true, guess), 0)
            share = n / max(totals[true], 1)
            colour = "#1f5fa8" if i == j else "#c0392b"
            parts.append(
                f'<rect x="{left + j * side}" y="{y}" width="{side - 2}" height="{side - 2}"'
                f' fill="{colour}" fill-opacity="{0.06 + 0.84 * share:.2f}"/>'
                f'<text x="{left + j * side + 21}" y="{y + 26}" text-anchor="middle"'
                f' fill="{"white" if share > 0.5 else "#222"}">{n}</text>'
            )
    return "".join([*parts, "</svg>"])


def _mistakes(shown: Mistakes) -> str:
    """The mistakes the model was surest of; what it knows wrongly, or the data has wrongly."""
    worst = sorted(shown.found, key=lambda mistake: -mistake.measure)[:_MISTAKES]
    if not worst:
        return "<p>No mistakes.</p>"
    second = any(mistake.second for mistake in worst)
    header = (shown.measure, *shown.names[: 1 + second], "truth", "model")
    rows = [
        (f"{m.measure:.3f}", *(m.text, m.second)[: 1 + second], m.truth, m.predicted) for m in worst
    ]
    return f"<h3>{shown.title} ({len(worst)} of {len(shown.found)})</h3>" + _table(header, rows)


def _score_table(scores: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    rows = [
        (part, name, f"{figure['mean']:.4f}",
         "" if figure["std"] is None else f"{figure['std']:.4f}",
         ", ".join(f"{value:.4f}" for value in figure["per_seed"]))
        for part, named in scores.items()
        for name, figure in named.items()
    ]  # fmt: skip
    return _table(("part", "score", "mean", "std", "seeds"), rows)


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _of(curves: Mapping[str, Rows], name: str) -> dict[str, Rows]:
    return {key.split()[1]: rows for key, rows in curves.items() if key.split()[0] == name}


def _curve(title: str, key: str, by_seed: Mapping[str, Rows]) -> str:
    lines = {
        seed: [(row["step"], row[key]) for row in rows if key in row]
        for seed, rows in by_seed.items()
    }
    points = [point for line in lines.values() for point in line]
    if not points:
        return ""
    frame = _Frame(points, title, "step")
    for number, (seed, line) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{frame.x(s):.1f},{frame.y(v):.1f}" for s, v in line)
        frame.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
            f'<text x="{frame.width - 70}" y="{34 + 15 * number}" fill="{colour}">seed'
            f" {escape(seed)}</text>"
        )
    return frame.svg()


def _scatter(points: list[tuple[float, float]]) -> str:
    frame = _Frame(points, "predicted against true", "true")
    step = max(1, len(points) // 3000)  # thousands of circles would make a slow page
    frame.parts += [
        f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="2" fill="#1f5fa8"'
        ' fill-opacity=".35"/>'
        for x, y in points[::step]
    ]
    return frame.svg()


class _Frame:
    """Axes with numbers round some points."""

    width, height, left, right, top, bottom = 720, 300, 70, 90, 34, 42

    def __init__(self, points: Sequence[tuple[float, float]], title: str, x_name: str):
        xs, ys = zip(*points, strict=True)
        self._x, self._y = _range(xs), _range(ys)
        self.parts = [
            f'<svg viewBox="0 0 {self.width} {self.height}" width="{self.width}"'
            ' font-family="sans-serif" font-size="12">',
            f'<text x="{self.left}" y="20" font-size="14">{escape(title)}</text>',
            f'<text x="{self.width / 2}" y="{self.height - 6}" text-anchor="middle">{x_name}'
            "</text>",
        ]
        for k in range(5):
            x = self._x[0] + (self._x[1] - self._x[0]) * k / 4
            y = self._y[0] + (self._y[1] - self._y[0]) * k / 4
            self.parts.append(
                f'<path d="M{self.left} {self.y(y):.1f}H{self.width - self.right}" stroke="#ddd"/>'
                f'<text x="{self.left - 8}" y="{self.y(y) + 4:.1f}" text-anchor="end">{y:.4g}'
                f'</text><text x="{self.x(x):.1f}" y="{self.height - self.bottom + 18}"'
                f' text-anchor="middle">{x:.4g}</text>'
            )

    def x(self, value: float) -> float:
        low, high = self._x
        return self.left + (self.width - self.left - self.right) * (value - low) / (high - low)

    def y(self, value: float) -> float:
        low, high = self._y
        share = (value - low) / (high - low)
        return self.height - self.bottom - (self.height - self.top - self.bottom) * share

    def svg(self) -> str:
        return "".join([*self.parts, "</svg>"])


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _main(result: Mapping[str, Any]) -> str:
    return next(iter(result["scores"]["dev"]))
