"""How a command ends that is told to: Ctrl-C, SIGTERM, or SIGHUP where its terminal is lost."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

from bert_jax.stop_request import SIGNALS, TWICE_SECONDS

_GRACE_SECONDS = 10.0
_AGAIN = 0  # is no signal's number


class Stopped(KeyboardInterrupt):
    """A signal has told the command to end; raised wherever its main thread is."""


class Stopping:
    """Ends a command in order at the first signal, and at once at the second. A context manager.

    The first becomes an exception, so that what is half-written goes, unless a training loop takes
    it as a note and saves before (`StopRequest`). Compiled code cannot be interrupted: a process
    that is still there after ten seconds ends. What is ignored (`nohup`) stays ignored. Where the
    exception met a finaliser or a callback of the garbage collector, out of which Python lets none
    come, it is raised once more.

    Args:
        line: what there is to say of an end by that signal.

    Attributes:
        number: the first signal that came; None: none.
    """

    def __init__(self, line: Callable[[int], str]) -> None:
        self.number: int | None = None
        self._line, self._said = line, False
        self._at = 0.0
        self._until: float | None = None
        self._before: dict[int, signal._HANDLER] = {}
        self._raised = False
        self._again = 0
        # Asked now: a terminal that has gone is none.
        self._terminals = [number for number in (1, 2) if _is_terminal(number)]

    @property
    def status(self) -> int:
        """The exit status."""
        return 128 + (self.number or signal.SIGINT)

    def say(self) -> None:
        """Say in one line that the command has ended; once."""
        if not self._said:
            self._said = True
            with suppress(OSError):
                # Not by `print`, whose lock the main thread may hold.
                os.write(2, f"{self._line(self.number or signal.SIGINT)}\n".encode())

    def __enter__(self) -> Stopping:
        if threading.current_thread() is not threading.main_thread():
            return self
        self._heard, self._told = os.pipe()
        os.set_blocking(self._told, False)
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._unwind)
        self._told_before = signal.set_wakeup_fd(self._told, warn_on_full_buffer=False)
        self._lost_before, sys.unraisablehook = sys.unraisablehook, self._lose
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._before or self.number is not None:
            return  # what is left to do may hang, too
        signal.set_wakeup_fd(self._told_before)
        if sys.unraisablehook == self._lose:  # else another's hook is before it
            sys.unraisablehook = self._lost_before
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._told)
        self._watcher.join()
        os.close(self._heard)

    def _unwind(self, signum: int, frame: FrameType | None) -> None:
        del frame
        self.number = self.number or signum
        if not self._raised:
            self._raised = True
            raise Stopped

    def _lose(self, unraisable: Any) -> None:
        """Have raised again, by the watcher, what Python could not let out."""
        if isinstance(unraisable.exc_value, Stopped):
            os.write(self._told, bytes([_AGAIN]))
        else:
            self._lost_before(unraisable)

    def _raise_again(self) -> None:
        time.sleep(0.05)  # until the main thread is out of `_lose`, too
        self._raised, self._again = False, self._again + 1
        # By a signal, which wakes the main thread where it waits.
        signal.pthread_kill(threading.main_thread().ident or 0, self.number or signal.SIGINT)

    def _watch(self) -> None:
        """Hear of signals at once, also while the main thread is in compiled code."""
        while True:
            left = None if self._until is None else max(0.0, self._until - time.monotonic())
            if not select.select([self._heard], [], [], left)[0]:
                self._leave()
            numbers = os.read(self._heard, 64)
            if not numbers:
                return
            for number in numbers:
                if number == _AGAIN:
                    self._raise_again()
                elif self._again and number == self.number:
                    self._again -= 1  # its own doing
                elif number in self._before:
                    self._hear(number)

    def _hear(self, number: int) -> None:
        now = time.monotonic()
        if number == signal.SIGHUP:
            self._leave_terminals()
        if not self._at:
            self.number, self._at = self.number or number, now
            if signal.getsignal(number) == self._unwind:  # else a loop saves, as long as it takes
                self._until = now + _GRACE_SECONDS
        elif now > self._at + TWICE_SECONDS:
            self._leave()

    def _leave_terminals(self) -> None:
        """Print into the void where the terminal has gone: what is being saved must not fail."""
        for number in self._terminals:
            if _has_hung_up(number):
                with suppress(OSError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), number)

    def _leave(self) -> NoReturn:
        self.say()
        os._exit(self.status)


def _is_terminal(number: int) -> bool:
    with suppress(OSError):
        return os.isatty(number)
    return False


def _has_hung_up(number: int) -> bool:
    poll = select.poll()
    poll.register(number, 0)  # errors are always reported
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))
