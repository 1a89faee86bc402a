"""The training loop: on one screen, and never waiting for a metric."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from bert_jax.training.callbacks import Callback
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
class EventSchedule:
    """Every how many steps something happens; 0 is never (but the last step always counts)."""

    steps: int
    log_every: int = 10
    eval_every: int = 0
    checkpoint_every: int = 0

    def due(self, every: int, step: int) -> bool:
        """Whether what happens every `every` steps happens after `step` updates."""
        return step == self.steps or (every > 0 and step % every == 0)


def train(
    state: TrainState,
    train_step: TrainStep,
    batches: Iterable[Mapping[str, np.ndarray]],
    mesh: Mesh,
    schedule: EventSchedule,
    *,
    evaluate: Callable[[int, TrainState], dict[str, float]],
    save: Callable[[TrainState, dict[str, float] | None], None],
    stop: Callable[[], bool] = lambda: False,
    evaluate_first: bool = False,
    callbacks: Sequence[Callback] = (),
) -> TrainState:
    """Run `train_step` over `batches` until `schedule.steps` updates are applied, or told to stop.

    Metrics are read one step late: while the host reads those of step n, step n + 1 is already
    running. The host waits for the newest step only where an evaluation or checkpoint needs it.

    Args:
        state: at any step; `batches` begin at that step. Its arrays are donated.
        train_step: compiled, `(state, batch) -> (state, metrics)`.
        batches: dicts of arrays with this process's rows.
        mesh: the devices of `train_step`.
        schedule: how often to log, evaluate and save.
        evaluate: gives the held-out figures after so many updates, by name.
        save: called with the state and the held-out figures of this very step, or None.
        stop: asked after every step; True saves and ends the loop.
        evaluate_first: evaluate the state before its first update here, too.
        callbacks: told about everything, in this order.

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
        logging = schedule.due(schedule.log_every, done)
        for callback in callbacks:
            if logging:
                callback.on_log(done, metrics)
            callback.on_step(done, metrics)
        if logging:
            clock.restart()

    with contextlib.ExitStack() as stack:
        for callback in callbacks:
            callback.on_train_begin(step)
            stack.callback(callback.on_train_end)
        if evaluate_first:
            at_start = evaluate(step, state)
            for callback in callbacks:
                callback.on_evaluate(step, at_start)
            clock.restart()
        for batch in batches:
            placed, own = put_batch(batch, mesh), batch["instance_ids"]
            # This process's tokens, and as many for each other that has rows of the global batch.
            tokens = int(np.count_nonzero(own)) * len(placed["instance_ids"]) // len(own)
            state, metrics = train_step(state, placed)
            read()
            step += 1
            unread = (step, metrics, tokens)
            for callback in callbacks:
                callback.on_update(step, state)

            stopping = stop()
            evaluating = schedule.due(schedule.eval_every, step)
            saving = stopping or schedule.due(schedule.checkpoint_every, step)
            if evaluating or saving:
                read()
                with clock.paused():
                    figures = evaluate(step, state) if evaluating else None
                    if figures is not None:
                        for callback in callbacks:
                            callback.on_evaluate(step, figures)
                    if saving:
                        for callback in callbacks:
                            callback.on_save(step)
                        save(state, figures)
            if stopping or step == schedule.steps:
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
