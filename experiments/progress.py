"""Progress of anything over two seconds: a bar with time left, or plain lines in a log file."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeLeft


class StepProgress:
    """Shows `description 120/600 note  0:35 elapsed  2:10 left` on stderr.

    On a terminal it is one moving line; in a log file a line every `seconds_between_lines`.

    Args:
        description: what is being done.
        total: steps in all.
        start: steps already done; they do not count towards the speed.
    """

    def __init__(
        self, description: str, total: int, start: int = 0, seconds_between_lines: float = 15.0
    ):
        self._description, self._total, self._start = description, total, start
        self._between = seconds_between_lines
        self._console = Console(stderr=True)
        self._bar: Progress | None = None

    def __enter__(self) -> StepProgress:
        self._began = self._last_line = time.monotonic()
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeLeft(),
                console=self._console,
            )
            self._bar.start()
            self._task = self._bar.add_task(
                self._description, total=self._total, completed=self._start, note=""
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, done: int, note: str = "") -> None:
        """Say that `done` steps are behind us; `note` is what a person wants to know of now."""
        if self._bar:
            self._bar.update(self._task, completed=done, note=note)
            return
        now = time.monotonic()
        if now - self._last_line >= self._between or done == self._total:
            self._last_line = now
            left = (now - self._began) / max(done - self._start, 1) * (self._total - done)
            self._console.print(
                f"{self._description} {done}/{self._total}  {note}  "
                f"{_clock(now - self._began)} elapsed  {_clock(left)} left",
                soft_wrap=True,
                highlight=False,
            )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
