"""Stopping when told to: a signal only leaves a note, the loop saves and ends between two steps."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType

SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}
"""What ends a program, and how people call it. A terminal that is lost sends the last one."""

TWICE_SECONDS = 0.1
"""Signals closer than this are one, as where a job's process and its process group get it."""


class SavedFirst(KeyboardInterrupt):
    """Ctrl-C, raised after what it interrupted was saved and this was said."""


class StopRequest:
    """True once a signal has told the process to end. Leave it by a `with` block.

    It takes notice from the first time that it is asked: before a first step is done there is
    nothing to save, and signals do what they did. A second signal does so, too, for who cannot wait
    for the step. What is ignored (`nohup`) stays so, and outside the main thread all does.

    Raises:
        SavedFirst: at the end of the block, where it was Ctrl-C.
    """

    def __init__(self) -> None:
        self._number: int | None = None
        self._answered = False
        self._at = 0.0
        self._before: dict[int, signal._HANDLER] | None = None

    def __bool__(self) -> bool:
        if self._before is None:
            self._before = {}
            if threading.current_thread() is threading.main_thread():
                for number in SIGNALS:
                    if signal.getsignal(number) is not signal.SIG_IGN:
                        self._before[number] = signal.signal(number, self._note)
        self._answered = self._number is not None
        return self._answered

    def __enter__(self) -> StopRequest:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._restore()
        if kind is not None or self._number is None:
            return
        if not self._answered:  # it came after the last step
            signal.raise_signal(self._number)
        elif self._number == signal.SIGINT:
            raise SavedFirst

    def _note(self, signum: int, frame: FrameType | None) -> None:
        del frame
        now = time.monotonic()
        if self._number is None:
            self._number, self._at = signum, now
        elif now > self._at + TWICE_SECONDS:
            self._restore()
            signal.raise_signal(signum)

    def _restore(self) -> None:
        for number, handler in (self._before or {}).items():
            signal.signal(number, handler)
        self._before = {}
