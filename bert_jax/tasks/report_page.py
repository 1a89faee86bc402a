"""The report page of a fine-tuning run: one HTML file with everything in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from bert_jax.figures import Lines, draw_lines, draw_matrix, draw_points
from bert_jax.text.valid_unicode import valid_unicode
from bert_jax.whole_file import write_text

from .report import Confusion, Mistakes, Points, Shown, Table
from .task import Task

_MISTAKES = 25
_STYLE = (
    "body{font:15px/1.45 sans-serif;max-width:62em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:.6em 0}td,th{padding:.25em .7em;text-align:left;"
    "border-bottom:1px solid #ddd;vertical-align:top}td.n,th.n{text-align:right}"
    "svg{max-width:100%;height:auto}"
)

# Nothing is fetched and nothing runs, whatever the texts that are shown hold.
_POLICY = (
    "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none';"
    " style-src 'unsafe-inline'; img-src data:\">"
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
        f"<!doctype html><html lang='en'><meta charset='utf-8'>{_POLICY}"
        f"<title>{escape(workdir.name)}</title><style>{_STYLE}</style><h1>{escape(workdir.name)}</h1>",
        _score_table(result["scores"]),
        "<h2>Learning curves</h2>",
        _curve("training loss", "loss", _of(curves, "metrics")),
        _curve(_main(result), f"dev_{_main(result)}", _of(curves, "heldout")),
    ]
    for part, rows in predictions.items():
        parts.append(f"<h2>The {escape(part)} part, by the best seed</h2>")
        for shown in task.shown(rows):
            parts += _drawn(shown)
    page, _ = valid_unicode("\n".join(parts) + "\n")
    write_text(workdir / "report.html", page)


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
            return [draw_points(values, "predicted against true", "true", "predicted")]
        case Mistakes():
            return [_mistakes(shown)]


def _labels(counts: Mapping[tuple[str, str], int]) -> list[str]:
    table = [
        (label, *(f"{x:.3f}" for x in scores)) for label, scores in label_scores(counts).items()
    ]
    header = ("label", "precision", "recall", "F1")
    return [_table(header, table), draw_matrix(counts, "true", "predicted")]


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
        f"seed {seed}": [(row["step"], row[key]) for row in rows if key in row]
        for seed, rows in by_seed.items()
    }
    if not any(lines.values()):
        return ""
    return draw_lines(Lines(lines, title, "step"), height=3)


def _main(result: Mapping[str, Any]) -> str:
    return next(iter(result["scores"]["dev"]))
