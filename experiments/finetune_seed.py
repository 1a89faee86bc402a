"""One fine-tuning run with one seed: trained, killed, continued, and measured at its best."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bert_jax.checkpoints import Checkpoints, save_params
from bert_jax.convert.contents import Pretrained
from bert_jax.tasks.batches import TrainingBatches, packed_rows
from bert_jax.tasks.finetuner import Finetuner
from bert_jax.tasks.saved_task import head_item
from bert_jax.tasks.task import Task
from bert_jax.text.vocabulary_record import vocabulary_record
from bert_jax.training.callbacks import ShowProgress
from bert_jax.training.loop import EventSchedule, NotFiniteError, train
from bert_jax.training.metrics import JsonLines, TensorBoard, drop_after, read_metrics
from bert_jax.training.schedules import warmup_polynomial
from bert_jax.training.sharding import batch_ways
from bert_jax.training.state import TrainState
from bert_jax.whole_file import write_json, write_json_lines


@dataclass(frozen=True)
class RunSettings:
    """What one point of the grid is trained with; names are those of the flags."""

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

    @property
    def measured(self) -> list[str]:
        """The parts that are not trained on: "dev", "test"."""
        return [part for part in self.prepared if part != "train"]

    def scores(self, task: Task, part: str, logits: np.ndarray) -> dict[str, float]:
        """The scores of `task` for what was said of a part."""
        return task.scores(self.examples[part], self.prepared[part], logits)


def run_seed(
    run: Finetuner,
    parts: PreparedParts,
    pretrained: Pretrained,
    settings: RunSettings,
    seed: int,
    directory: Path,
    stop: Callable[[], bool],
    title: str,
) -> dict[str, Any] | None:
    """Train with one seed in `directory`, from where an earlier call stopped.

    Writes result.json, what the best parameters say of each part (`predictions_dev.jsonl` …), and
    these parameters (`best/`).

    Returns:
        What result.json holds; None where told to stop, after saving.
    """
    finished = directory / "result.json"
    if finished.exists():
        return json.loads(finished.read_text())
    began = time.perf_counter()
    directory.mkdir(parents=True, exist_ok=True)
    task, head = parts.task, run.head
    batches = TrainingBatches(
        parts.prepared["train"].features,
        head.lay_labels,
        seed=seed,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        pad_id=0,
        ways=batch_ways(run.mesh),
        positions=pretrained.config.max_position_embeddings,
    )
    steps = len(batches)
    warmup = settings.warmup * steps if settings.warmup < 1 else settings.warmup
    rate = warmup_polynomial(settings.learning_rate, steps, min(round(warmup), steps))
    eval_every = max(1, -(-batches.steps_per_epoch // settings.evals_per_epoch))
    main_score = f"dev_{_main_score(parts)}"
    checkpoints = Checkpoints(
        directory / "checkpoints",
        keep=1,
        config=pretrained.config.to_dict(),
        vocabulary=vocabulary_record(_tokenizer(pretrained)),
        head=head_item(task),
        best_metric=main_score,
        highest=True,
    )
    start = checkpoints.latest_step()
    if start is None:
        state = run.initial_state(seed)
    else:
        state = checkpoints.restore(run.abstract_state)
        print(f"continuing {directory} from step {start}", file=sys.stderr)
    predict = _Predictor(run, parts, settings.batch_size, pretrained.config.max_position_embeddings)
    at_best = (-1, np.empty(0))  # step and logits of the best evaluation seen
    training, evaluating, tokens = time.perf_counter(), 0.0, 0
    with ExitStack() as stack:
        stack.callback(checkpoints.close)
        stream = batches.iterate(start or 0)
        stack.callback(stream.close)
        history: list[float] = []
        if start is not None:
            drop_after(directory / "heldout.jsonl", start)
            history = [line[main_score] for line in read_metrics(directory / "heldout.jsonl")]

        def evaluate(step: int, state: TrainState) -> dict[str, float]:
            nonlocal evaluating, at_best
            evaluating -= time.perf_counter()
            logits = predict("dev", state.params)
            scores = parts.scores(_calibrated(parts, logits), "dev", logits)
            evaluating += time.perf_counter()
            figures = {f"dev_{name}": value for name, value in scores.items()}
            history.append(figures[main_score])
            if history[-1] == max(history):
                at_best = step, logits
            return figures

        def note(metrics: Mapping[str, float]) -> str:
            best = f"  best {main_score} {max(history):.4f}" if history else ""
            return f"loss {metrics['loss']:.3f}{best}"

        if not _patience_is_out(history, settings.patience) and (start or 0) < steps:
            try:
                state = train(
                    state,
                    run.train_step(seed, rate, steps),
                    stream,
                    run.mesh,
                    EventSchedule(steps, settings.log_every, eval_every, eval_every),
                    evaluate=evaluate,
                    save=checkpoints.save,
                    stop=lambda: stop() or _patience_is_out(history, settings.patience),
                    callbacks=[
                        JsonLines(directory),
                        TensorBoard(directory / "tensorboard"),
                        ShowProgress(title, steps, note),
                    ],
                )
            except NotFiniteError as error:
                good = checkpoints.latest_step()
                where = "there is none" if good is None else checkpoints.path(good)
                print(f"{title}: {error}; last good checkpoint: {where}", file=sys.stderr)
                sys.exit(1)
        seconds = time.perf_counter() - training - evaluating
        reached = int(state.step)
        if reached < steps and not _patience_is_out(history, settings.patience):
            print(f"stopped and saved at step {reached} of {directory}", file=sys.stderr)
            return None
        best = checkpoints.best_step()
        assert best is not None  # the last step always evaluates
        params = checkpoints.restore(run.abstract_state, best).params
    for step in range(start or 0, reached):
        tokens += int(batches.rows(step).spans(parts.prepared["train"].features)[1].sum())
    logits = {"dev": at_best[1] if at_best[0] == best else predict("dev", params)}
    logits |= {part: predict(part, params) for part in parts.measured if part != "dev"}
    task = _calibrated(parts, logits["dev"])
    for part in parts.measured:
        rows = task.predictions(parts.examples[part], parts.prepared[part], logits[part])
        write_json_lines(predictions_file(directory, part), rows)
    result = {
        "scores": {part: parts.scores(task, part, logits[part]) for part in parts.measured},
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
    _keep_best(directory, params, pretrained, task)
    write_json(finished, result)
    shutil.rmtree(directory / "checkpoints")  # the optimiser's state is of no more use
    return result


class _Predictor:
    """`predict(part, params)`: logits of a part, whose sequences are packed into rows once."""

    def __init__(
        self, run: Finetuner, parts: PreparedParts, batch_size: int, positions: int
    ) -> None:
        ways = run.mesh.size
        size = -(-max(batch_size // 2, 1) // ways) * ways
        self._run, self._prepared = run, parts.prepared
        self._rows = {
            part: packed_rows(parts.prepared[part].features, size, positions)
            for part in parts.measured
        }

    def __call__(self, part: str, params: Any) -> np.ndarray:
        return self._run.predict(params, self._prepared[part].features, self._rows[part])


def predictions_file(directory: Path, part: str) -> Path:
    """Where what was said of a part lies, in the directory of a seed or of all."""
    return directory / f"predictions_{part}.jsonl"


def _calibrated(parts: PreparedParts, logits: np.ndarray) -> Task:
    """The task with what is chosen on the development part."""
    return parts.task.calibrated(parts.examples["dev"], parts.prepared["dev"], logits)


def _main_score(parts: PreparedParts) -> str:
    """The name of the score that models are chosen by."""
    features = parts.prepared["dev"].features
    columns = parts.task.head.scores or len(parts.task.labels)
    length = len(features.ids) if parts.task.head.per_token else len(features)
    nothing = np.zeros((length, columns), np.float32)
    return next(iter(parts.scores(parts.task, "dev", nothing)))


def _keep_best(directory: Path, params: Any, pretrained: Pretrained, task: Task) -> None:
    target = directory / "best"
    if target.exists():
        shutil.rmtree(target)
    save_params(
        target,
        jax.device_get(params),
        config=pretrained.config.to_dict(),
        vocabulary=vocabulary_record(_tokenizer(pretrained)),
        head=head_item(task),
    )


def _tokenizer(pretrained: Pretrained) -> Any:
    assert pretrained.tokenizer is not None  # checked when the checkpoint was read
    return pretrained.tokenizer


def _patience_is_out(history: list[float], patience: int) -> bool:
    if not patience or not history:
        return False
    best = history.index(max(history))
    return len(history) - 1 - best >= patience


def mean_and_deviation(values: list[float]) -> Mapping[str, Any]:
    """Mean, sample standard deviation (None of one value), and the values."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": deviation, "per_seed": values}
