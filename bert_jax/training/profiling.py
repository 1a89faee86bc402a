"""A trace of a few steps, for `tensorboard` or Perfetto."""

from __future__ import annotations

from pathlib import Path

import jax

_SKIPPED, _TRACED = 3, 5  # compiling and warming up tell nothing; a few steps tell all


class Profile:
    """Traces steps start + 4 … start + 8 into `directory`; traces nothing where that is None."""

    def __init__(self, directory: Path | None, start: int):
        self._directory, self._start, self._tracing = directory, start, False

    def __enter__(self) -> Profile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._tracing:
            jax.profiler.stop_trace()

    def after(self, step: int) -> None:
        """To be called after every step."""
        if self._directory is None:
            return
        if step == self._start + _SKIPPED:
            jax.profiler.start_trace(str(self._directory))
            self._tracing = True
        elif self._tracing and step == self._start + _SKIPPED + _TRACED:
            jax.profiler.stop_trace()
            self._tracing = False
