"""What a command prints, where who reads it may go away: `… | head`."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def until_reader_goes() -> Iterator[None]:
    """Exit with status 141, and say nothing, where standard output is a pipe that nobody reads.

    Raises:
        BrokenPipeError: of another pipe or socket.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_has_gone():
            raise
        sys.exit(141)


def _reader_has_gone() -> bool:
    """Whether standard output has no reader; what it still holds is then dropped."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # errors are always reported
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True
