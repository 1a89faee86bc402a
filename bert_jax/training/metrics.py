"""Where metrics go: a JSON object a line in two files, and TensorBoard.

Both are callbacks. W&B and MLflow are ten lines each: docs/metrics.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from bert_jax.training.callbacks import Callback
from bert_jax.whole_file import sync, write_text


class JsonLines(Callback):
    """Appends training metrics to `metrics.jsonl` and held-out figures to `heldout.jsonl`.

    A line is an object with `step` and the metrics. Floats are written with `repr`, which reads
    back bit for bit. Lines that a killed run wrote beyond the step it continues from are dropped,
    so that the files end up as an uninterrupted run would have written them.

    Args:
        directory: an existing one.
    """

    def __init__(self, directory: str | Path):
        self._paths = [Path(directory) / f"{name}.jsonl" for name in ("metrics", "heldout")]

    def on_train_begin(self, step: int) -> None:
        """Open the files, without what lies beyond `step`; at step 0 without anything."""
        for path in self._paths:
            drop_after(path, step or -1)
        self._files = self._metrics, self._heldout = [path.open("a") for path in self._paths]

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One line, flushed: a kill loses nothing that was written."""
        print(json.dumps({"step": step, **metrics}), file=self._metrics, flush=True)

    def on_evaluate(self, step: int, metrics: Mapping[str, float]) -> None:
        """One line, flushed."""
        print(json.dumps({"step": step, **metrics}), file=self._heldout, flush=True)

    def on_save(self, step: int) -> None:
        """Sync the files: a run that is continued never writes these lines again."""
        for path in self._paths:
            sync(path)
        sync(self._paths[0].parent, deep=False)

    def on_train_end(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()


class TensorBoard(Callback):
    """Writes all metrics to event files.

    Args:
        directory: made where absent.
    """

    def __init__(self, directory: str | Path):
        self._directory = str(directory)

    def on_train_begin(self, step: int) -> None:
        """Open a new file, which says that what lies beyond `step` does not count."""
        from tensorboardX import SummaryWriter

        self._summary = SummaryWriter(self._directory, purge_step=step + 1 if step else 0)

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        """A scalar a metric."""
        for tag, value in metrics.items():
            self._summary.add_scalar(tag, value, step)

    on_evaluate = on_log

    def on_train_end(self) -> None:
        """Flush and close."""
        self._summary.close()


def read_metrics(path: str | Path) -> list[dict[str, float]]:
    """The whole lines of a metrics file; a last line torn by a kill is left out."""
    lines = Path(path).read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def drop_after(path: Path, step: int) -> None:
    """Take the lines beyond `step` out of a metrics file, and a last line torn by a kill."""
    if not path.exists():
        return
    kept = [line for line in read_metrics(path) if line["step"] <= step]
    write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
