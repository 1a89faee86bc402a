"""Progress of anything over two seconds: a bar with time left, or plain lines in a log file."""

from __future__ import annotations

import sys
import time

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bert_jax.console import plain_console

_NOTEBOOK_SECONDS = 0.5
# Sooner, how long the rest takes is a guess: the first steps compile, the first files are opened.
_LEAST_SECONDS = 5.0
_LEAST_SHARE, _SECONDS_ENOUGH = 0.02, 60.0  # a share of what is to do, or so long
_MOST_SECONDS = 1000 * 3600.0  # no plan holds for longer: hardly anything is done


class ProgressBar:
    """Shows `description 45 % note  0:35 elapsed  2:10 left` on stderr.

    On a terminal and in a notebook it is one moving line; in a log file a line every
    `seconds_between_lines`, and none at all for what is done sooner.

    Args:
        description: what is being done.
        total: how much there is to do, in any unit; None where nobody knows.
        start: how much is done already; it does not count towards the speed.
        seconds_between_lines: in a log file.
    """

    def __init__(
        self,
        description: str,
        total: float | None,
        start: float = 0,
        seconds_between_lines: float = 15.0,
    ):
        self._description, self._total, self._start = description, total, start
        self._done = start
        self._between = seconds_between_lines
        self._console = plain_console(stderr=True)
        self._bar: Progress | None = None
        self._note, self._written = "", 0

    def __enter__(self) -> ProgressBar:
        self._began = self._last_line = time.monotonic()
        if self._console.is_terminal and not self._console.is_jupyter:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %" if self._total else ""),
                TextColumn("{task.fields[note]}", markup=False),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}"),
                console=self._console,
            )
            self._bar.start()
            self._task = self._bar.add_task(
                self._description, total=self._total, completed=int(self._start), note="", left=""
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()
        elif self._written:
            self._overwrite(self._line(time.monotonic(), self._note) + "\n")

    def advance(self, amount: float) -> None:
        """Say that `amount` more is behind us."""
        self.update(self._done + amount)

    def update(self, done: float, note: str = "") -> None:
        """Say that `done` of the total is behind us; `note` is what a person wants to know now."""
        self._done, self._note = done, note
        if self._bar:
            left = self._left(time.monotonic())
            self._bar.update(self._task, completed=done, note=note, left=left)
            return
        now = time.monotonic()
        if self._console.is_jupyter:
            if now - self._last_line >= _NOTEBOOK_SECONDS:
                self._last_line = now
                self._overwrite(self._line(now, note))
            return
        if now - self._last_line >= self._between:
            self._last_line = now
            self._console.print(self._line(now, note), soft_wrap=True, highlight=False)

    def _overwrite(self, line: str) -> None:
        """Write a line over the last one, which every notebook does without a widget."""
        sys.stderr.write("\r" + line.ljust(self._written))
        sys.stderr.flush()
        self._written = len(line)

    def _line(self, now: float, note: str) -> str:
        seconds, share, left = now - self._began, "", ""
        if self._total:
            share, left = f"{self._done / self._total:.0%}", self._left(now)
        return f"{self._description} {share}  {note}  {_clock(seconds)} elapsed  {left}"

    def _left(self, now: float) -> str:
        """How long the rest takes at the speed so far; nothing while that is a guess."""
        seconds, here = now - self._began, self._done - self._start
        to_do = (self._total or 0.0) - self._start
        known = here >= _LEAST_SHARE * to_do or seconds >= _SECONDS_ENOUGH
        if here <= 0 or seconds < _LEAST_SECONDS or not known:
            return ""
        left = max(0.0, seconds / here * (to_do - here))  # more may come than was thought
        return f"{_clock(left)} left" if left < _MOST_SECONDS else ""


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
