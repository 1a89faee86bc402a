"""What worker processes do about signals, and about a parent that is killed.

with undisturbed_start():
    …                            # starts processes, each of which calls live_with_parent first
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def undisturbed_start() -> Iterator[None]:
    """Start processes that do not hear of signals before they know what to do about them.

    Nor does the process that Python starts to count what they share.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # which they inherit
    try:
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # it unblocks what itself ignores
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def live_with_parent() -> None:
    """Begin a worker process: it ends when its parent does, no sooner and no later.

    A terminal or a scheduler signals all processes of a job. The parent ends its workers when it
    has saved what there is; were they to go first, it would fail in the middle of that.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    threading.Thread(target=_end_after_parent, daemon=True).start()


def _end_after_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()  # returns at once when it is killed, too
        os._exit(1)
