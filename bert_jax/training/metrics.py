"""Where metrics go: a JSON object a line in two files, and TensorBoard.

Both are callbacks. W&B and MLflow are ten lines each: docs/metrics.md. Beside each file of lines
lie checksums, by which damage and gaps are noticed:

    metrics.jsonl       {"step": 10, "loss": 5.2}
    metrics.jsonl.crc   10 5f0c1a2b                   the step, and the CRC-32 of its line
"""

from __future__ import annotations

import json
import sys
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bert_jax.disk import on_disk, sync
from bert_jax.errors import DamagedFileError
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
        """Remove from the files what is beyond `step`; at step 0 everything."""
        for path in self._paths:
            drop_after(path, step or -1)
            path.touch()

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One line, at once: a kill loses nothing that was written."""
        append_line(self._paths[0], {"step": step, **metrics})

    def on_evaluate(self, step: int, metrics: Mapping[str, float]) -> None:
        """One line, at once."""
        append_line(self._paths[1], {"step": step, **metrics})

    def on_save(self, step: int) -> None:
        """Sync the files: a run that is continued never writes these lines again."""
        for path in self._paths:
            for file in (_beside(path), path):  # where the power fails between, no line lacks one
                with on_disk(file):
                    sync(file)
        sync(self._paths[0].parent, deep=False)


class TensorBoard(Callback):
    """Writes all metrics to event files.

    Not by tensorboardX's SummaryWriter: its thread dies when the disk is full, and the run
    then waits for it forever.

    Args:
        directory: made where absent.
    """

    def __init__(self, directory: str | Path):
        self._directory = Path(directory)

    def on_train_begin(self, step: int) -> None:
        """Open a new file, which says that what is beyond `step` does not count."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        with on_disk(self._directory):
            self._directory.mkdir(parents=True, exist_ok=True)
            self._events = EventsWriter(str(self._directory / "events"))
        first = step + 1 if step else 0
        self._write(first, session_log=SessionLog(status=SessionLog.START))

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        """A scalar per metric."""
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


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line, which has a `step`, and its checksum, at once: a kill loses nothing written."""
    text = _text(line)
    for file, added in ((path, text), (_beside(path), _checksum(line, text))):
        with on_disk(file), file.open("a") as opened:
            opened.write(added)


def read_metrics(path: str | Path) -> list[dict[str, float]]:
    """The whole lines of a metrics file; a last line torn by a kill is left out.

    Lines from before there were checksums are read as they are.

    Raises:
        DamagedFileError: a line is not what was written.
    """
    return _read(Path(path), None)


def _read(path: Path, until: int | None) -> list[dict[str, float]]:
    """The same; of what was written after step `until`, which will go, perhaps not all.

    Where the power failed, some of that may be on the disk, and its checksums not.
    """
    texts = path.read_bytes().split(b"\n")[:-1]
    checksums = _checksums(path)  # after the lines, which a run may be adding to
    last, found = max(checksums, default=-1), list[dict[str, float]]()
    wanted = max((step for step in checksums if until is not None and step <= until), default=-1)
    for number, text in enumerate(texts, 1):
        before, step = found[-1]["step"] if found else -1, -1
        try:
            line = json.loads(text)
            step = int(line["step"])
        except (ValueError, TypeError, KeyError, RecursionError):
            whole = False
        else:
            # Without a checksum: of before there were any, or killed before it was written.
            unsaid = not checksums or (before == last < step)
            whole = before < step and (unsaid or checksums.get(step) == zlib.crc32(text + b"\n"))
        if not whole:
            if until is not None and checksums and before >= wanted and not before < step <= until:
                break
            raise _damage(path, number)
        found.append(line)
    return found


def drop_after(path: Path, step: int) -> None:
    """Take the lines beyond `step` out of a metrics file, and a last line torn by a kill.

    Prints which lines up to there are lost, once.

    Raises:
        DamagedFileError: a line is not what was written.
    """
    written = {of for of in _checksums(path) if of <= step}
    if not path.exists() and not written:
        _beside(path).unlink(missing_ok=True)
        return
    lines = _read(path, step) if path.exists() and step >= 0 else []
    kept = [line for line in lines if line["step"] <= step]
    if lost := sorted(written - {line["step"] for line in kept}):
        print(
            f"note: {path} has lost what was written of {len(lost)} steps, {lost[0]} to {lost[-1]}"
            " the first and the last; the run is the same, its curve has a gap",
            file=sys.stderr,
        )
    texts = [_text(line) for line in kept]
    write_text(path, "".join(texts))
    write_text(_beside(path), "".join(map(_checksum, kept, texts)))


def _text(line: Mapping[str, Any]) -> str:
    return json.dumps(line) + "\n"


def _checksum(line: Mapping[str, Any], text: str) -> str:
    return f"{line['step']} {zlib.crc32(text.encode()):08x}\n"


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.crc")


def _checksums(path: Path) -> dict[int, int]:
    """By step."""
    file = _beside(path)
    if not file.exists():
        return {}
    try:
        rows = [line.split() for line in file.read_bytes().split(b"\n")[:-1]]
        return {int(step): int(checksum, 16) for step, checksum in rows}
    except ValueError as error:
        remedy = f"remove it, and {path.name} is taken as it is"
        raise DamagedFileError(file, "it is not a list of checksums", remedy) from error


def _damage(path: Path, number: int) -> DamagedFileError:
    return DamagedFileError(
        path,
        f"line {number} is not what was written",
        f"take that line out, or remove {_beside(path).name} next to it to take what can be read",
    )
