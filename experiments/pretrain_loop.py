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
from bert_jax.progress import ProgressBar
from bert_jax.training.assembly import Pretrainer
from bert_jax.training.audit_log import AuditLog
from bert_jax.training.evaluation import Evaluation, evaluate
from bert_jax.training.loop import Hooks, NotFiniteError, Rhythm, train
from bert_jax.training.metrics import MetricsWriter
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


def train_to_the_end(
    run: Pretrainer,
    checkpoints: Checkpoints,
    batches: Batches,
    heldout: HeldoutBatches,
    workdir: Path,
    rhythm: Rhythm,
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
    tokens_per_second: list[float] = []

    with ExitStack() as stack:
        stack.callback(checkpoints.close)
        stop = _stop(stack, start)
        writer = MetricsWriter(workdir, start) if is_first() else None
        if writer:
            stack.callback(writer.close)
        profile = stack.enter_context(
            Profile(workdir / "profile" if aside.profile and is_first() else None, start)
        )
        bar = stack.enter_context(ProgressBar("training", rhythm.steps, start)) if writer else None
        stream = batches.iterate(start, workers=aside.loader_workers)
        stack.callback(stream.close)

        def log(step: int, metrics: dict[str, float]) -> None:
            if writer:
                writer.write(step, metrics)
            tokens_per_second.append(metrics["tokens_per_second"])

        def progress(step: int, metrics: dict[str, float]) -> None:
            profile.after(step)
            if bar:
                bar.update(step, f"{step}/{rhythm.steps}  {_note(metrics)}")

        def measure(step: int, state: TrainState) -> dict[str, float]:
            nonlocal evaluation
            evaluation = evaluate(run.eval_step, state.params, heldout, run.mesh)
            figures = {
                "heldout_mlm_loss": evaluation.mlm_loss,
                "heldout_mlm_accuracy": evaluation.mlm_accuracy,
                "heldout_nsp_accuracy": evaluation.nsp_accuracy,
            }
            if writer:
                writer.write_heldout(step, figures)
            return figures

        def save(state: TrainState, figures: dict[str, float] | None) -> None:
            checkpoints.save(run.cut(state), figures)

        audit_log = None
        if aside.audit_every:
            initial = np.asarray(token_table(run.cut(run.initial_state()).params))
            audit_log = AuditLog(workdir, initial, start)

        def inspect(step: int, state: TrainState) -> None:
            if audit_log and rhythm.due(aside.audit_every, step):
                own = run.cut(state)  # padding is nobody's row
                audit_log.write(step, own.opt_state.audit, token_table(own.params))

        try:
            state = train(
                state,
                run.train_step,
                stream,
                run.mesh,
                rhythm,
                Hooks(log, progress, measure, save, stop, inspect),
            )
        except NotFiniteError as error:
            good = checkpoints.latest_step()
            where = "there is none" if good is None else checkpoints.path(good)
            if is_first():
                words = f"{error}; last good checkpoint: {where}"
                print(f"experiments.pretrain: {words}", file=sys.stderr)
            sys.exit(1)
        steps = int(state.step)
        if steps < rhythm.steps:
            if is_first():
                print(f"stopped and saved at step {steps}", file=sys.stderr)
            return None
        if evaluation is None:  # the run was complete before it was continued
            evaluation = evaluate(run.eval_step, state.params, heldout, run.mesh)
    return {
        "steps": steps,
        "resumed_from": resumed_from,
        "tokens_per_second": float(np.median(tokens_per_second)) if tokens_per_second else None,
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
        f"  nsp {metrics['nsp_accuracy']:.2f}  {metrics['tokens_per_second']:,.0f} tokens/s"
    )
