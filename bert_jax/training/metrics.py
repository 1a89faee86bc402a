"""Where metrics go: a JSON object a line in two files, and TensorBoard."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter


class MetricsWriter:
    """Appends to `workdir/NAME.jsonl` and to event files under `workdir/tensorboard`.

    Training metrics go to `metrics.jsonl`, held-out figures to `heldout.jsonl`. Floats are
    written with `repr`, which reads back bit for bit.

    Args:
        workdir: an existing directory.
        start: the step the run continues from; what a killed run wrote beyond it is dropped, so
            that the files end up as an uninterrupted run would have written them.
    """

    def __init__(self, workdir: str | Path, start: int = 0):
        workdir = Path(workdir)
        self._files = {}
        for name in ("metrics", "heldout"):
            path = workdir / f"{name}.jsonl"
            drop_after(path, start)
            self._files[name] = path.open("a")
        self._summary = SummaryWriter(
            str(workdir / "tensorboard"), purge_step=start + 1 if start else None
        )

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """One line of training metrics, flushed: a kill loses nothing that was written."""
        self._append("metrics", step, metrics)

    def write_heldout(self, step: int, figures: Mapping[str, float]) -> None:
        """One line of held-out figures, flushed."""
        self._append("heldout", step, figures)

    def close(self) -> None:
        """Flush and close all files."""
        for file in self._files.values():
            file.close()
        self._summary.close()

    def _append(self, name: str, step: int, figures: Mapping[str, float]) -> None:
        self._files[name].write(json.dumps({"step": step, **figures}) + "\n")
        self._files[name].flush()
        for tag, value in figures.items():
            self._summary.add_scalar(tag, value, step)


def read_metrics(path: str | Path) -> list[dict[str, float]]:
    """The whole lines of a metrics file; a last line torn by a kill is left out."""
    lines = Path(path).read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def drop_after(path: Path, step: int) -> None:
    """Take the lines beyond `step` out of a metrics file, and a last line torn by a kill."""
    if not path.exists():
        return
    kept = [line for line in read_metrics(path) if line["step"] <= step]
    partial = path.with_name(path.name + ".partial")
    partial.write_text("".join(json.dumps(line) + "\n" for line in kept))
    os.replace(partial, path)
