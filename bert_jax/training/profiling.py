"""A trace of a few steps, for `tensorboard` or Perfetto."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jax

from bert_jax.training.callbacks import Callback

_SKIPPED, _TRACED = 3, 5  # compiling and warming up tell nothing; a few steps tell all


class Profile(Callback):
    """Traces steps start + 4 … start + 8 into `directory`."""

    def __init__(self, directory: Path):
        self._directory, self._tracing = directory, False

    def on_train_begin(self, step: int) -> None:
        """Remember the first step."""
        self._start = step

    def on_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Begin or end the trace."""
        if step == self._start + _SKIPPED:
            jax.profiler.start_trace(str(self._directory))
            self._tracing = True
        elif step == self._start + _SKIPPED + _TRACED:
            self.on_train_end()

    def on_train_end(self) -> None:
        """End the trace of a run that is shorter."""
        if self._tracing:
            jax.profiler.stop_trace()
            self._tracing = False
