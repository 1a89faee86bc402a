"""The training loop: on one screen, and never waiting for a metric."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from bert_jax.training.sharding import put_batch
from bert_jax.training.state import TrainState
from bert_jax.training.steps import TrainStep


class NotFiniteError(FloatingPointError):
    """The loss or the gradient became NaN or infinite."""

    def __init__(self, step: int, metrics: Mapping[str, float]):
        shown = ", ".join(f"{name} {value:g}" for name, value in metrics.items())
        super().__init__(f"step {step} is not finite ({shown})")
        self.step = step


@dataclasses.dataclass(frozen=True)
class Rhythm:
    """How often things happen, in steps; 0 is never (and the last step always counts)."""

    steps: int
    log_every: int = 10
    eval_every: int = 0
    checkpoint_every: int = 0

    def due(self, every: int, step: int) -> bool:
        """Whether what happens every `every` steps happens after `step` updates."""
        return step == self.steps or (every > 0 and step % every == 0)


@dataclasses.dataclass(frozen=True)
class Hooks:
    """What the loop calls; `step` counts updates applied.

    Attributes:
        log: with the metrics of a logged step.
        progress: after every step, with the newest metrics known.
        evaluate: held-out figures, by name.
        save: with the state and the newest held-out figures (those of this very step or None).
        stop: asked after every step; True saves and ends the loop.
        inspect: after every step, with the newest state, which the next step will donate. To read
            it is to wait for the step.
    """

    log: Callable[[int, dict[str, float]], None]
    progress: Callable[[int, dict[str, float]], None]
    evaluate: Callable[[int, TrainState], dict[str, float]]
    save: Callable[[TrainState, dict[str, float] | None], None]
    stop: Callable[[], bool]
    inspect: Callable[[int, TrainState], None] = lambda step, state: None


def train(
    state: TrainState,
    train_step: TrainStep,
    batches: Iterable[Mapping[str, np.ndarray]],
    mesh: Mesh,
    rhythm: Rhythm,
    hooks: Hooks,
) -> TrainState:
    """Run `train_step` over `batches` until `rhythm.steps` updates are applied, or told to stop.

    Metrics are read one step late: while the host reads those of step n, step n + 1 is already
    running. The host waits for the newest step only where an evaluation or checkpoint needs it.

    Args:
        state: at any step; `batches` begin at that step. Its arrays are donated.

    Raises:
        NotFiniteError: loss or gradient is NaN or infinite; no such state is ever saved.
    """
    step = int(state.step)
    clock = _Clock()
    unread: tuple[int, dict[str, Any], int] | None = None  # step, metrics on the device, tokens

    def read() -> None:
        nonlocal unread
        if unread is None:
            return
        done, on_device, tokens = unread
        unread = None
        metrics = {name: float(value) for name, value in jax.device_get(on_device).items()}
        if not all(map(math.isfinite, metrics.values())):
            raise NotFiniteError(done, metrics)
        metrics["tokens_per_second"] = clock.rate(tokens)
        if rhythm.due(rhythm.log_every, done):
            hooks.log(done, metrics)
            clock.restart()
        hooks.progress(done, metrics)

    for batch in batches:
        placed, own = put_batch(batch, mesh), batch["instance_ids"]
        # This process's tokens, and as many for each other that has rows of the global batch.
        tokens = int(np.count_nonzero(own)) * len(placed["instance_ids"]) // len(own)
        state, metrics = train_step(state, placed)
        read()
        step += 1
        unread = (step, metrics, tokens)
        hooks.inspect(step, state)

        stopping = hooks.stop()
        evaluating = rhythm.due(rhythm.eval_every, step)
        saving = stopping or rhythm.due(rhythm.checkpoint_every, step)
        if evaluating or saving:
            read()
            with clock.paused():
                figures = hooks.evaluate(step, state) if evaluating else None
                if saving:
                    hooks.save(state, figures)
        if stopping or step == rhythm.steps:
            break
    read()
    return state


class _Clock:
    """Tokens a second since the last logged step, compiling and evaluating left out."""

    def __init__(self) -> None:
        self._warm = False
        self.restart()

    def restart(self) -> None:
        self._tokens, self._start = 0, time.perf_counter()

    def rate(self, tokens: int) -> float:
        if not self._warm:  # the first step holds the compilation
            self._warm = True
            seconds = time.perf_counter() - self._start
            self.restart()
            return tokens / seconds
        self._tokens += tokens
        return self._tokens / max(time.perf_counter() - self._start, 1e-9)

    def paused(self) -> _Pause:
        return _Pause(self)

    def shift(self, seconds: float) -> None:
        self._start += seconds


class _Pause:
    def __init__(self, clock: _Clock):
        self._clock = clock

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._clock.shift(time.perf_counter() - self._start)
