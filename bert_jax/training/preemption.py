"""Stopping on SIGTERM: the signal only leaves a note, the loop ends between two steps."""

from __future__ import annotations

import signal
from types import FrameType


class StopRequest:
    """True once SIGTERM has arrived. A context manager: the old handler comes back at the end.

    A second SIGTERM acts as it would have without this, for who cannot wait for the step.
    """

    def __init__(self) -> None:
        self._requested = False

    def __bool__(self) -> bool:
        return self._requested

    def __enter__(self) -> StopRequest:
        self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        del signum, frame
        self._requested = True
        signal.signal(signal.SIGTERM, self._before)
