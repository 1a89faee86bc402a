"""A pretraining run from its newest checkpoint to the end: what is written and asked on the way."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bert_jax.checkpoints import Checkpoints
from bert_jax.data.loader import Batches, HeldoutBatches
from bert_jax.parameters import token_table
from bert_jax.training.assembly import Pretrainer
from bert_jax.training.audit_log import AuditLog
from bert_jax.training.callbacks import Callback, ShowProgress
from bert_jax.training.evaluation import Evaluation, evaluate
from bert_jax.training.loop import EventSchedule, NotFiniteError, train
from bert_jax.training.metrics import JsonLines, TensorBoard
from bert_jax.training.preemption import StopRequest
from bert_jax.training.processes import is_first, stop_together
from bert_jax.training.profiling import Profile
from bert_jax.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class Aside:
    """What a run does beside training.

    Attributes:
        audit_every: steps between lines of the update audit; 0: no audit.
        loader_workers: processes that make batches; 0: a thread.
        profile: whether to trace a few steps.
    """

    audit_every: int
    loader_workers: int
    profile: bool


class Speed(Callback):
    """Tokens a second at the logged steps."""

    def __init__(self) -> None:
        self._logged: list[float] = []

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Keep one."""
        self._logged.append(metrics["tokens_per_second"])

    @property
    def median(self) -> float | None:
        """The middle one; None where no step was logged."""
        return float(np.median(self._logged)) if self._logged else None


class AuditUpdates(Callback):
    """Writes the update audit down every so many steps."""

    def __init__(self, run: Pretrainer, workdir: Path, schedule: EventSchedule, every: int):
        self._run, self._workdir, self._schedule, self._every = run, workdir, schedule, every

    def on_train_begin(self, step: int) -> None:
        """Remember the table before the first step of the run."""
        initial = np.asarray(token_table(self._run.cut(self._run.initial_state()).params))
        self._log = AuditLog(self._workdir, initial, step)

    def on_update(self, step: int, state: TrainState) -> None:
        """Write a line and the arrays."""
        if self._schedule.due(self._every, step):
            own = self._run.cut(state)  # padding is nobody's row
            self._log.write(step, own.opt_state.audit, token_table(own.params))


def train_to_the_end(
    run: Pretrainer,
    checkpoints: Checkpoints,
    batches: Batches,
    heldout: HeldoutBatches,
    workdir: Path,
    schedule: EventSchedule,
    aside: Aside,
) -> dict[str, Any] | None:
    """Train from the newest checkpoint, or the start, to the end.

    Returns:
        What came out, by name, with the held-out figures; None where told to stop.
    """
    resumed_from = checkpoints.latest_step()
    start = resumed_from or 0
    if resumed_from is None:
        state = run.initial_state()
    else:
        state = run.pad(checkpoints.restore(run.saved_state))
    if resumed_from is not None and is_first():
        print(f"continuing {workdir} from step {start}", file=sys.stderr)
    evaluation: Evaluation | None = None

    with ExitStack() as stack:
        stack.callback(checkpoints.close)
        stop = _stop(stack, start)
        stream = batches.iterate(start, workers=aside.loader_workers)
        stack.callback(stream.close)
        speed = Speed()
        callbacks: list[Callback] = [speed]
        if is_first():
            callbacks += [JsonLines(workdir), TensorBoard(workdir / "tensorboard")]
            callbacks += [Profile(workdir / "profile")] if aside.profile else []
            callbacks += [ShowProgress("training", schedule.steps, _note)]
        if aside.audit_every:
            callbacks.append(AuditUpdates(run, workdir, schedule, aside.audit_every))

        def measure(step: int, state: TrainState) -> dict[str, float]:
            nonlocal evaluation
            evaluation = evaluate(run.eval_step, state.params, heldout, run.mesh)
            return {
                "heldout_mlm_loss": evaluation.mlm_loss,
                "heldout_mlm_accuracy": evaluation.mlm_accuracy,
                "heldout_nsp_accuracy": evaluation.nsp_accuracy,
            }

        def save(state: TrainState, figures: dict[str, float] | None) -> None:
            checkpoints.save(run.cut(state), figures)

        try:
            state = train(
                state, run.train_step, stream, run.mesh, schedule,
                evaluate=measure, save=save, stop=stop, callbacks=callbacks,
            )  # fmt: skip
        except NotFiniteError as error:
            good = checkpoints.latest_step()
            where = "there is none" if good is None else checkpoints.path(good)
            if is_first():
                words = f"{error}; last good checkpoint: {where}"
                print(f"experiments.pretrain: {words}", file=sys.stderr)
            sys.exit(1)
        steps = int(state.step)
        if steps < schedule.steps:
            if is_first():
                print(f"stopped and saved at step {steps}", file=sys.stderr)
            return None
        if evaluation is None:  # the run was complete before it was continued
            evaluation = evaluate(run.eval_step, state.params, heldout, run.mesh)
    return {
        "steps": steps,
        "resumed_from": resumed_from,
        "tokens_per_second": speed.median,
        **{f"heldout_{name}": value for name, value in dataclasses.asdict(evaluation).items()},
        "checkpoint": str(checkpoints.path(steps)),
    }


def _stop(stack: ExitStack, start: int) -> Callable[[], bool]:
    """What the loop asks after every step: has SIGTERM come, to this process or to another?"""
    if jax.process_count() == 1:
        return stack.enter_context(StopRequest()).__bool__
    steps = itertools.count(start + 1)
    return lambda: stop_together(next(steps))


def _note(metrics: Mapping[str, float]) -> str:
    return (
        f"loss {metrics['loss']:.3f}  mlm {metrics['mlm_loss']:.3f}"
        f"  nsp {metrics['nsp_accuracy']:.2f}"
    )
