"""Waiting for others, said: what for and for how long, every half a minute; and what goes on
meanwhile.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SAY_SECONDS = 30.0  # between two lines


class Waiting:
    """Says on stderr, now and then, what is waited for.

        waiting = Waiting("process 0", limit=300)
        while not there():
            waiting.say()          # waiting for process 0: 30 of 300 s
            if waiting.is_over: …

    Args:
        what: is waited for.
        limit: seconds after which that is of no more use; None of what may take any time.
    """

    def __init__(self, what: str, limit: float | None = None):
        self._what, self._limit = what, limit
        self._began = self._said = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether the limit has passed."""
        return self._limit is not None and time.monotonic() > self._began + self._limit

    def say(self, so_far: str = "") -> None:
        """Print a line, with what is there so far, unless one was printed half a minute ago."""
        now = time.monotonic()
        if now < self._said + SAY_SECONDS:
            return
        self._said = now
        of = "" if self._limit is None else f" of {self._limit:.0f}"
        line = f"waiting for {self._what}: {so_far}{now - self._began:.0f}{of} s"
        print(line, file=sys.stderr, flush=True)


@contextmanager
def meanwhile(do: Callable[[threading.Event], None]) -> Iterator[None]:
    """Do something in a thread beside a block.

    Args:
        do: called once; ends soon when the event is set that it is given.
    """
    over = threading.Event()
    thread = threading.Thread(target=do, args=(over,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def said_while(what: str) -> Iterator[None]:
    """Say what is waited for as long as a block takes."""

    def say(over: threading.Event) -> None:
        waiting = Waiting(what)
        while not over.wait(SAY_SECONDS):
            waiting.say()

    with meanwhile(say):
        yield
