"""One fine-tuning run with one seed: trained, killed, continued, and measured at its best."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bert_jax.checkpoint_files import save_params
from bert_jax.checkpoints import Checkpoints, damaged_checkpoints, set_aside
from bert_jax.convert.contents import Pretrained
from bert_jax.errors import UserError
from bert_jax.file_digests import read_vouching, write_vouching
from bert_jax.stop_request import StopRequest
from bert_jax.tasks.batches import TrainingBatches, packed_rows
from bert_jax.tasks.examples import Columns
from bert_jax.tasks.finetuner import Finetuner
from bert_jax.tasks.kinds import head_item
from bert_jax.tasks.report import only_answer
from bert_jax.tasks.task import Task
from bert_jax.text.vocabulary_record import vocabulary_record
from bert_jax.training.callbacks import Callback, ShowProgress
from bert_jax.training.loop import EventSchedule, NotFiniteError, train
from bert_jax.training.metrics import JsonLines, TensorBoard, drop_after, read_metrics
from bert_jax.training.schedules import warmup_polynomial
from bert_jax.training.sharding import batch_ways
from bert_jax.training.state import TrainState
from bert_jax.whole_file import write_json_lines


class DivergedError(FloatingPointError):
    """A loss or gradient is not finite; says at which step, and which checkpoint is still good."""


@dataclass(frozen=True)
class SeedSettings:
    """How one seed is trained; see `FinetuningSettings`."""

    epochs: int
    learning_rate: float
    batch_size: int
    warmup: float
    patience: int
    evals_per_epoch: int
    log_every: int


@dataclass(frozen=True)
class PreparedParts:
    """The task and, by part, its examples and what they became."""

    task: Task
    examples: dict[str, list[Any]]
    prepared: dict[str, Any]
    columns: Columns | None = None
    """Of the data, which `predict` will read likewise."""

    @property
    def measured(self) -> list[str]:
        """The parts that are not trained on: "dev", "test"."""
        return [part for part in self.prepared if part != "train"]

    @property
    def main_score(self) -> str:
        """The name of the score that models are chosen by."""
        features, head = self.prepared["dev"].features, self.task.head
        length = len(features.ids) if head.per_token else len(features)
        nothing = np.zeros((length, head.count(self.task.labels)), np.float32)
        return next(iter(self.scores(self.task, "dev", nothing)))

    def calibrated(self, logits: np.ndarray) -> Task:
        """The task with what is chosen on the development part, of which these are the logits."""
        return self.task.calibrated(self.examples["dev"], self.prepared["dev"], logits)

    def scores(self, task: Task, part: str, logits: np.ndarray) -> dict[str, float]:
        """The scores of `task` for what was said of a part."""
        return task.scores(self.examples[part], self.prepared[part], logits)


def run_seed(
    run: Finetuner,
    parts: PreparedParts,
    pretrained: Pretrained,
    settings: SeedSettings,
    seed: int,
    directory: Path,
    *,
    stop: Callable[[], bool],
    publish: Callable[[], None] | None = None,
    callbacks: Sequence[Callback] = (),
    title: str = "training",
) -> dict[str, Any] | None:
    """Train with one seed in `directory`, from where an earlier call stopped.

    Writes result.json, what the best parameters say of each part (`predictions_dev.jsonl` …), and
    these parameters (`best/`).

    Args:
        run: the compiled steps.
        parts: what is learned and measured.
        pretrained: where it starts.
        settings: how it is trained.
        seed: of head, order and dropout.
        directory: of this seed alone.
        stop: asked after every step; True saves and ends. SIGTERM does so, too.
        publish: as for `Checkpoints`; called also when all is written.
        callbacks: are told of everything.
        title: of the progress bar.

    Returns:
        What result.json holds; None where told to stop, after saving.

    Raises:
        DivergedError: loss or gradient is NaN or infinite.
    """
    finished = directory / "result.json"
    if finished.exists():
        return read_vouching(finished, f"remove {directory}, and its seed is trained again")
    began = time.perf_counter()
    directory.mkdir(parents=True, exist_ok=True)
    positions = pretrained.config.max_position_embeddings
    batches = _batches(run, parts, settings, seed, positions)
    set_aside(damaged_checkpoints(directory / "checkpoints"))
    checkpoints = Checkpoints(
        directory / "checkpoints",
        keep=1,
        best_metric=f"dev_{parts.main_score}",
        highest=True,
        publish=publish,
        **_written(pretrained, parts.task, parts.columns),
    )
    start = checkpoints.latest_step()
    if start is None:
        state = run.initial_state(seed)
    else:
        state = checkpoints.restore(run.abstract_state)
        print(f"continuing {directory} from step {start}", file=sys.stderr)
    evaluation = _Evaluation(run, parts, settings, positions, directory, start)
    training = time.perf_counter()
    with ExitStack() as stack:
        stack.callback(checkpoints.close)
        stream = batches.iterate(start or 0)
        stack.callback(stream.close)
        told = stack.enter_context(StopRequest())
        if not evaluation.patience_is_out() and (start or 0) < len(batches):
            every = max(1, -(-batches.steps_per_epoch // settings.evals_per_epoch))
            try:
                state = train(
                    state,
                    run.train_step(seed, _rate(settings, len(batches)), len(batches)),
                    stream,
                    run.mesh,
                    EventSchedule(len(batches), settings.log_every, every, every),
                    evaluate=evaluation,
                    save=checkpoints.save,
                    stop=lambda: bool(told) or stop() or evaluation.patience_is_out(),
                    callbacks=[
                        JsonLines(directory),
                        TensorBoard(directory / "tensorboard"),
                        ShowProgress(title, len(batches), evaluation.note),
                        *callbacks,
                    ],
                )
            except NotFiniteError as error:
                good = checkpoints.latest_step()
                where = "there is none" if good is None else checkpoints.path(good)
                raise DivergedError(f"{title}: {error}; last good checkpoint: {where}") from error
        seconds = time.perf_counter() - training - evaluation.seconds
        reached = int(state.step)
        if reached < len(batches) and not evaluation.patience_is_out():
            checkpoints.wait()
            print(
                f"stopped and saved at step {reached} of {directory}: run it again to continue from"
                " there",
                file=sys.stderr,
            )
            return None
        best = checkpoints.best_step()
        assert best is not None  # the last step always evaluates
        params = checkpoints.restore(run.abstract_state, best).params
    task, scores, only = _measured(parts, evaluation, best, params, directory)
    remarks = [f"seed {seed} {only}"] if only else []
    for remark in remarks:
        print(remark, file=sys.stderr)
    features = parts.prepared["train"].features
    spans = (batches.rows(step).spans(features) for step in range(start or 0, reached))
    tokens = sum(int(lengths.sum()) for _, lengths in spans)
    result = {
        "scores": scores,
        "remarks": remarks,
        "seed": seed,
        "steps": reached,
        "best_step": best,
        "seconds": time.perf_counter() - began,
        "tokens_per_second": tokens / seconds if tokens else None,
        "real_token_fraction": batches.real_token_fraction(),
        "packed": batches.packed,
        "row_lengths": list(batches.lengths),
        "compiled_shapes": run.compiled_shapes(),
    }
    _keep_best(directory / "best", params, pretrained, task, parts.columns)
    said = [predictions_file(directory, part).name for part in parts.measured]
    write_vouching(finished, result, ["metrics.jsonl", "heldout.jsonl", *said])
    shutil.rmtree(directory / "checkpoints")  # the optimiser's state is of no more use
    if publish is not None:
        publish()
    return result


def predictions_file(directory: Path, part: str) -> Path:
    """Where what was said of a part lies, in the directory of a seed or of all."""
    return directory / f"predictions_{part}.jsonl"


class _Evaluation:
    """What the development part says of the parameters as they change."""

    def __init__(
        self,
        run: Finetuner,
        parts: PreparedParts,
        settings: SeedSettings,
        positions: int,
        directory: Path,
        start: int | None,
    ) -> None:
        self.seconds = 0.0
        self._run, self._parts, self._patience = run, parts, settings.patience
        self._main = f"dev_{parts.main_score}"
        ways = run.mesh.size
        size = -(-max(settings.batch_size // 2, 1) // ways) * ways
        self._rows = {  # sequences are packed once
            part: packed_rows(parts.prepared[part].features, size, positions)
            for part in parts.measured
        }
        self._at_best = (-1, np.empty(0))  # step and logits of the best evaluation seen
        self._history: list[float] = []
        if start is not None:
            drop_after(directory / "heldout.jsonl", start)
            lines = read_metrics(directory / "heldout.jsonl")
            self._history = [line[self._main] for line in lines]

    def __call__(self, step: int, state: TrainState) -> dict[str, float]:
        """The scores after so many updates."""
        self.seconds -= time.perf_counter()
        logits = self.logits("dev", state.params)
        scores = self._parts.scores(self._parts.calibrated(logits), "dev", logits)
        self.seconds += time.perf_counter()
        figures = {f"dev_{name}": value for name, value in scores.items()}
        self._history.append(figures[self._main])
        if self._history[-1] == max(self._history):
            self._at_best = step, logits
        return figures

    def logits(self, part: str, params: Any) -> np.ndarray:
        """What these parameters say of a part."""
        return self._run.predict(params, self._parts.prepared[part].features, self._rows[part])

    def logits_at(self, step: int, params: Any) -> dict[str, np.ndarray]:
        """The same of all parts; `params` are those of a step, perhaps the best one seen."""
        known = {"dev": self._at_best[1]} if self._at_best[0] == step else {}
        return {
            part: known[part] if part in known else self.logits(part, params)
            for part in self._parts.measured
        }

    def patience_is_out(self) -> bool:
        """Whether so many evaluations were no better than the best before them."""
        if not self._patience or not self._history:
            return False
        best = self._history.index(max(self._history))
        return len(self._history) - 1 - best >= self._patience

    def note(self, metrics: Mapping[str, float]) -> str:
        """For the progress bar."""
        best = f"  best {self._main} {max(self._history):.4f}" if self._history else ""
        return f"loss {metrics['loss']:.3f}{best}"


def _batches(
    run: Finetuner, parts: PreparedParts, settings: SeedSettings, seed: int, positions: int
) -> TrainingBatches:
    return TrainingBatches(
        parts.prepared["train"].features,
        run.head.lay_labels,
        seed=seed,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        pad_id=0,
        ways=batch_ways(run.mesh),
        positions=positions,
    )


def _rate(settings: SeedSettings, steps: int) -> Any:
    warmup = settings.warmup * steps if settings.warmup < 1 else settings.warmup
    return warmup_polynomial(settings.learning_rate, steps, min(round(warmup), steps))


def _measured(
    parts: PreparedParts, evaluation: _Evaluation, best: int, params: Any, directory: Path
) -> tuple[Task, dict[str, dict[str, float]], str]:
    """The calibrated task and the scores of each part, whose predictions are written.

    And what there is to say of a model that always says the same.
    """
    logits = evaluation.logits_at(best, params)
    task = parts.calibrated(logits["dev"])
    rows = {
        part: list(task.predictions(parts.examples[part], parts.prepared[part], logits[part]))
        for part in parts.measured
    }
    for part in parts.measured:
        write_json_lines(predictions_file(directory, part), rows[part])
    scores = {part: parts.scores(task, part, logits[part]) for part in parts.measured}
    return task, scores, only_answer(task.shown(rows["dev"]))


def _keep_best(
    target: Path, params: Any, pretrained: Pretrained, task: Task, columns: Columns | None
) -> None:
    if target.exists():
        shutil.rmtree(target)
    save_params(target, jax.device_get(params), **_written(pretrained, task, columns))


def _written(pretrained: Pretrained, task: Task, columns: Columns | None) -> dict[str, Any]:
    """What a checkpoint holds beside its arrays."""
    if pretrained.tokenizer is None:
        raise UserError("got a checkpoint without a vocabulary; expected one with its tokenizer")
    return {
        "config": pretrained.config.to_dict(),
        "vocabulary": vocabulary_record(pretrained.tokenizer),
        "head": head_item(task, columns),
    }
