"""Where metrics go: a JSON object a line in two files, and TensorBoard.

Both are callbacks. W&B and MLflow are ten lines each: docs/metrics.md.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bert_jax.disk import on_disk, sync
from bert_jax.training.callbacks import Callback
from bert_jax.whole_file import write_text


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
        """Take out of the files what lies beyond `step`; at step 0 everything."""
        for path in self._paths:
            drop_after(path, step or -1)
            path.touch()

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One line, at once: a kill loses nothing that was written."""
        self._append(self._paths[0], step, metrics)

    def on_evaluate(self, step: int, metrics: Mapping[str, float]) -> None:
        """One line, at once."""
        self._append(self._paths[1], step, metrics)

    def on_save(self, step: int) -> None:
        """Sync the files: a run that is continued never writes these lines again."""
        for path in self._paths:
            with on_disk(path):
                sync(path)
        sync(self._paths[0].parent, deep=False)

    def _append(self, path: Path, step: int, metrics: Mapping[str, float]) -> None:
        with on_disk(path), path.open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")


class TensorBoard(Callback):
    """Writes all metrics to event files.

    Not by tensorboardX's SummaryWriter: its thread dies of a disk that is full, and the run then
    waits for it for ever.

    Args:
        directory: made where absent.
    """

    def __init__(self, directory: str | Path):
        self._directory = Path(directory)

    def on_train_begin(self, step: int) -> None:
        """Open a new file, which says that what lies beyond `step` does not count."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        with on_disk(self._directory):
            self._directory.mkdir(parents=True, exist_ok=True)
            self._events = EventsWriter(str(self._directory / "events"))
        first = step + 1 if step else 0
        self._write(first, session_log=SessionLog(status=SessionLog.START))

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        """A scalar a metric."""
        from tensorboardX.summary import scalar

        for tag, value in metrics.items():
            self._write(step, summary=scalar(tag, value))

    on_evaluate = on_log

    def on_train_end(self) -> None:
        """Close the file."""
        with suppress(OSError):  # all is written, or it was said that it cannot be
            self._events.close()

    def _write(self, step: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        with on_disk(self._directory / "events"):
            self._events.write_event(Event(step=step, wall_time=time.time(), **content))
            self._events.flush()


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
