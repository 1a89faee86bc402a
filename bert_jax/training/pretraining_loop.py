"""A pretraining run from its newest checkpoint to the end: what is written and asked on the way."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import jax
import numpy as np

from bert_jax.checkpoint_files import load_state
from bert_jax.checkpoints import Checkpoints
from bert_jax.data.loader import Batches, HeldoutBatches
from bert_jax.first_process import is_first, told_by_first
from bert_jax.mirror import as_given
from bert_jax.parameters import token_table
from bert_jax.pretrained_paths import checkpoint_at_hand
from bert_jax.stop_request import StopRequest
from bert_jax.training.assembly import Pretrainer
from bert_jax.training.audit_log import AuditUpdates, initial_table
from bert_jax.training.callbacks import Callback, ShowProgress
from bert_jax.training.evaluation import Evaluation, evaluate
from bert_jax.training.given_model import (
    STARTED,
    StartingModel,
    copy_start,
    read_start,
    write_start,
)
from bert_jax.training.loop import EventSchedule, NotFiniteError, train
from bert_jax.training.metrics import JsonLines, TensorBoard
from bert_jax.training.objectives import OBJECTIVES
from bert_jax.training.pretraining_settings import PretrainingSettings
from bert_jax.training.processes import stop_together
from bert_jax.training.profiling import Profile
from bert_jax.training.state import TrainState
from bert_jax.training.workdir import Workdir

# What is written down of an evaluation on the way.
_WATCHED = ("heldout_mlm_loss", "heldout_mlm_accuracy", "heldout_nsp_accuracy")


def train_to_the_end(
    settings: PretrainingSettings,
    run: Pretrainer,
    checkpoints: Checkpoints,
    batches: Batches,
    heldout: HeldoutBatches,
    place: Workdir,
    callbacks: Sequence[Callback],
    starting: StartingModel | None = None,
) -> dict[str, Any] | None:
    """Train from the newest checkpoint, or the start, to the end.

    A run that starts from a model is measured before its first step, too.

    Returns:
        What came out, by name, with the held-out figures; None where told to stop.
    """
    workdir = place.folder
    resumed_from = checkpoints.latest_step()
    # Where to begin: 1. the run's own newest checkpoint; 2. the one it branches off; 3. anew.
    if resumed_from is not None:
        state = run.pad(checkpoints.restore(run.saved_state))
        _say(f"continuing {as_given(workdir)} from step {resumed_from}")
    elif settings.branch_from:
        state = run.pad(load_state(checkpoint_at_hand(settings.branch_from), run.saved_state))
        _say(f"branching off {settings.branch_from}")
        if starting is not None and is_first():
            copy_start(checkpoint_at_hand(settings.branch_from), workdir)
    else:
        state = run.initial_state()
        if starting is not None:
            _say(_said_of_start(starting))
    start = int(state.step)
    schedule = EventSchedule(
        settings.steps, settings.log_every, settings.eval_every, settings.checkpoint_every
    )
    objective = OBJECTIVES[settings.objective]
    evaluation: Evaluation | None = None

    def measure(step: int, state: TrainState) -> dict[str, float]:
        nonlocal evaluation
        evaluation = evaluate(run.eval_step, state.params, heldout, run.mesh, objective)
        figures = evaluation.figures()
        if step == 0 and starting is not None and is_first():
            write_start(workdir, starting.origin(), figures)
        return {name: figures[name] for name in _WATCHED if name in figures}

    def save(state: TrainState, figures: dict[str, float] | None) -> None:
        checkpoints.save(run.cut(state), figures)

    with ExitStack() as stack:
        stack.callback(checkpoints.close)
        stop = _stop(stack, start)
        stream = batches.iterate(start, workers=settings.loader_workers)
        stack.callback(stream.close)
        speed = _Speed()
        told: list[Callback] = [speed]
        if settings.audit_every:
            initial = initial_table(
                start,
                lambda: np.asarray(token_table(run.cut(run.initial_state()).params)),
                workdir,
                [checkpoint_at_hand(settings.branch_from).parent.parent]
                if settings.branch_from
                else [],
            )
            told.append(AuditUpdates(run, initial, workdir, schedule, settings.audit_every))
        if is_first():
            told += [JsonLines(workdir), TensorBoard(workdir / "tensorboard")]
            told += [Profile(workdir / "profile")] if settings.profile else []
            told += [ShowProgress("training", settings.steps, _note), *callbacks]
        try:
            state = train(
                state, run.train_step, stream, run.mesh, schedule,
                evaluate=measure, save=save, stop=stop,
                evaluate_first=starting is not None and start == 0, callbacks=told,
            )  # fmt: skip
        except NotFiniteError as error:
            good = checkpoints.latest_step()
            where = "there is none" if good is None else as_given(checkpoints.path(good))
            error.args = (f"{error}; last good checkpoint: {where}",)
            raise
        steps = int(state.step)
        checkpoints.wait()
        if steps < settings.steps:
            _say(f"stopped and saved at step {steps}: run it again to continue from there")
            return None
        if evaluation is None:  # the run was complete before it was continued
            evaluation = evaluate(run.eval_step, state.params, heldout, run.mesh, objective)
    began = told_by_first("start", lambda: read_start(workdir)) if starting is not None else {}
    return {
        "steps": steps,
        "resumed_from": resumed_from,
        "tokens_per_second": speed.median(),
        "objective": settings.objective,
        **{f"heldout_{name}": value for name, value in dataclasses.asdict(evaluation).items()},
        "checkpoint": as_given(checkpoints.path(steps)),
        **{name: began.get(name) for name in STARTED},
    }


class _Speed(Callback):
    """Tokens a second at the logged steps."""

    def __init__(self) -> None:
        self._logged: list[float] = []

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._logged.append(metrics["tokens_per_second"])

    def median(self) -> float | None:
        return float(np.median(self._logged)) if self._logged else None


def _stop(stack: ExitStack, start: int) -> Callable[[], bool]:
    """What the loop asks after every step: has a signal come, to this process or another?"""
    if jax.process_count() == 1:
        return stack.enter_context(StopRequest()).__bool__
    steps = itertools.count(start + 1)
    return lambda: stop_together(next(steps))


def _said_of_start(starting: StartingModel) -> str:
    """`starting from base: bert/embeddings, bert/encoder taken; mlm, nsp drawn`."""
    origin = starting.origin()
    said = [
        f"{', '.join(origin[name])} {word}"
        for name, word in (("taken", "taken"), ("drawn", "drawn"), ("left_out", "left out"))
        if origin[name]
    ]
    if (moved := origin.get("vocabulary")) is not None:
        said.append(
            f"moved from {moved['before']:,} to {moved['after']:,} pieces ({moved['copied']:,}"
            f" copied, {moved['composed']:,} composed, {moved['not_spelled']:,} not spelled)"
        )
    notes = "".join(f"\nnote: {note}" for note in starting.given.notes)
    return f"starting from {origin['checkpoint']}: {'; '.join(said)}{notes}"


def _note(metrics: Mapping[str, float]) -> str:
    note = f"loss {metrics['loss']:.3f}  mlm {metrics['mlm_loss']:.3f}"
    return f"{note}  nsp {metrics['nsp_accuracy']:.2f}" if "nsp_accuracy" in metrics else note


def _say(words: str) -> None:
    if is_first():
        print(words, file=sys.stderr)
