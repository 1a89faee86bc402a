"""Fine-tuning from settings to a workdir: every seed of every grid point, and what came out."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

from bert_jax.arguments import MOST_SEED, expect, whole_number
from bert_jax.checkpoint_files import load_json
from bert_jax.convert.contents import Pretrained
from bert_jax.convert.pretrained import hub_commit, load_pretrained
from bert_jax.disk import sync
from bert_jax.errors import UserError
from bert_jax.file_digests import write_sealed
from bert_jax.kernels.compute import Compute, default_products, scans_layers
from bert_jax.memory import check_batch
from bert_jax.mirror import as_given, at_hand
from bert_jax.settings import check_settings, setting, settings_of
from bert_jax.tasks.data import DataSettings, TaskData, class_weights, read_task
from bert_jax.tasks.empty_texts import empty_text_remarks
from bert_jax.tasks.features import as_arrays, cached
from bert_jax.tasks.finetuner import Finetuner, assemble_finetuner
from bert_jax.tasks.fingerprints import contents, fingerprint
from bert_jax.tasks.head_start import head_start
from bert_jax.tasks.label_counts import label_counts, shown_counts
from bert_jax.tasks.rate_factors import Rates
from bert_jax.tasks.seed_run import PreparedParts, SeedSettings, predictions_file, run_seed
from bert_jax.tasks.task import Task
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.text.vocabulary_record import text_settings
from bert_jax.training.attention_choice import ATTENTIONS, with_attention
from bert_jax.training.callbacks import Callback, check_callbacks
from bert_jax.training.metrics import read_metrics
from bert_jax.training.optimizers import OPTIMIZERS
from bert_jax.training.sharding import create_mesh, parse_mesh
from bert_jax.training.workdir import Workdir, check_contents, own_workdir, prepared_workdir
from bert_jax.whole_file import write_json_lines

GRID = {
    "epochs": int, "learning_rate": float, "batch_size": int, "warmup": float,
    "weight_decay": float, "layer_decay": float, "head_learning_rate": float, "dropout": float,
    "freeze_layers": int,
}  # fmt: skip
"""The settings that a grid may vary."""

# What a run computes does not depend on these: they may differ when it is continued.
_MAY_CHANGE = ("seeds", "grid", "log_every", "mesh", "scan_layers", "attention")

Point = dict[str, Any]
Results = list[dict[str, Any]]


@dataclass(frozen=True)
class FinetuningSettings(DataSettings):
    """All that a fine-tuning run depends on; what is read, see `DataSettings`."""

    checkpoint: str | os.PathLike[str] | Pretrained | None = setting(
        None,
        "Pretrained model: a path to ours, Hugging Face's or Google's, or a name on the hub; in"
        " Python, also one in memory.",
    )
    splitting: str | None = setting(
        None,
        "How text is split, when the checkpoint does not say: words, spaces, or a regular"
        " expression.",
    )
    workdir: str | os.PathLike[str] = setting(
        "runs/finetune", "Folder for everything the run writes."
    )
    seeds: Sequence[int] = (0,)
    """Of head, order and dropout."""
    grid: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Values to try, by the name of a setting of `GRID`."""
    epochs: int = setting(3, "Passes over the training examples.", least=1)
    learning_rate: float = setting(3e-5, "Peak learning rate.", least=0.0)
    batch_size: int = setting(32, "Batch size, in examples.", least=1)
    optimizer: str = setting("adamw", "The optimiser.", choices=tuple(OPTIMIZERS))
    warmup: float = setting(0.1, "Warm-up, in steps; below 1, a share of all steps.", least=0.0)
    weight_decay: float = setting(
        0.01,
        "Weight decay of matrices and embedding tables; biases and LayerNorm have none.",
        least=0.0,
    )
    clip_norm: float = setting(
        1.0, "Gradients are clipped to this global norm; 0 turns clipping off.", least=0.0
    )
    layer_decay: float = setting(
        1.0, "Learning rate of each layer, as a multiple of the layer above; 1: all the same."
    )
    head_learning_rate: float | None = setting(
        None, "Peak learning rate of the output layer; by default learning_rate.", least=0.0
    )
    freeze_embeddings: bool = setting(False, "Keep the three embedding tables fixed.")
    freeze_layers: int = setting(
        0, "Keep the embeddings and the first N layers fixed; 0: nothing.", least=0
    )
    class_weights: str = setting(
        "",
        "Class weights in the loss: balanced, or name:weight pairs (multi_label: of the 1s); by"
        " default all 1.",
    )
    dropout: float | None = setting(
        None, "Dropout rate; by default the checkpoint's.", least=0.0, most=0.9
    )
    patience: int = setting(
        0, "Stop after this many evaluations without a better one; 0: never.", least=0
    )
    evals_per_epoch: int = setting(1, "Evaluations, and checkpoints, per epoch.", least=1)
    dtype: str = setting(
        "float32",
        "What the model computes in; bfloat16 is faster on accelerators, less exact.",
        choices=("float32", "bfloat16"),
    )
    scan_layers: bool | None = setting(
        None,
        "Loop over the layers instead of unrolling them: compiles faster; on by default on TPUs.",
    )
    attention: str = setting(
        "auto", "Attention kernel; see pretrain's flag of this name.", choices=ATTENTIONS
    )
    mesh: str = setting(
        "", "Device mesh, as in data:4,fsdp:2; by default devices on data, TPU slices on dcn."
    )
    log_every: int = setting(10, "Steps between lines in metrics.jsonl.", least=1)

    def __post_init__(self) -> None:
        check_settings(self)
        wanted = "the path of a file, tfds:NAME:SPLIT, or a list of examples"
        for name in ("train", "dev", "test"):
            if getattr(self, name) is not None:
                expect(name, getattr(self, name), (str, Path, Sequence), wanted)
        wanted = "a path, a name on the Hugging Face hub, or what load_pretrained gives"
        if self.checkpoint is not None:
            expect("checkpoint", self.checkpoint, (str, os.PathLike, Pretrained), wanted)
        expect("seeds", self.seeds, Sequence, "a list of whole numbers")
        for seed in self.seeds:
            whole_number("seeds", seed, least=0, most=MOST_SEED)
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"got seeds={list(self.seeds)}; expected at least one, each once")
        for name in self.grid:
            if name not in GRID:
                raise UserError(f"got {name!r} in `grid`; expected some of {', '.join(GRID)}")

    def points(self) -> list[Point]:
        """{epochs: (2, 3), warmup: (0,)} -> [{epochs: 2, warmup: 0.0}, {epochs: 3, warmup: 0.0}]"""
        axes = [[(name, GRID[name](v)) for v in values] for name, values in self.grid.items()]
        return [dict(point) for point in itertools.product(*axes)]

    def at(self, point: Point) -> FinetuningSettings:
        """The settings of a point of the grid."""
        return dataclasses.replace(self, **point)

    def written(self) -> dict[str, Any]:
        """JSON-able; of what is in memory, a fingerprint."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del found["workdir"]
        for name in ("train", "dev", "test"):
            if not isinstance(found[name], str | Path | None):
                found[name] = f"{len(found[name])} examples {fingerprint(found[name])}"
        if isinstance(self.checkpoint, Pretrained):
            found["checkpoint"] = f"a {self.checkpoint.architecture} in memory"
        return {
            name: os.fspath(value) if isinstance(value, os.PathLike) else value
            for name, value in found.items()
        }


@dataclass(frozen=True)
class FinetuningResult:
    """What came out of a run.

    Attributes:
        workdir: holds everything; `Predictor.from_pretrained` reads its best checkpoint.
        task: what was learned, as the best seed has it.
        figures: the content of `workdir/result.json`.
        predictions: what the best seed predicts, by part.
        curves: the lines of `metrics SEED` and `heldout SEED`.
    """

    workdir: Path
    task: Task
    figures: dict[str, Any]
    predictions: dict[str, list[dict[str, Any]]]
    curves: dict[str, list[dict[str, float]]]

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """The mean over the seeds of each score of each part."""
        return {
            part: {name: figure["mean"] for name, figure in scores.items()}
            for part, scores in self.figures["scores"].items()
        }

    @property
    def checkpoint(self) -> Path:
        """Of the best seed."""
        return at_hand(self.figures["checkpoint"])


def finetune(
    task: str,
    *,
    callbacks: Sequence[Callback] = (),
    stop: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> FinetuningResult | None:
    """Fine-tune a checkpoint with every seed, and keep the best by the development part.

        finetune(
            "classification", checkpoint="runs/pretrain", workdir="runs/mine",
            train=[("a moving film", "good"), ("dull", "bad"), …], epochs=3, seeds=(0, 1, 2),
        ).scores["dev"]["accuracy"]

    The same call continues where it stopped, bit for bit; more seeds or grid points are added to
    what is there. Other examples or weights under the same names are refused.

    Args:
        task: classification, multi_label, regression, qa, tagging, multiple_choice, similarity, or
            the name of a data set.
        callbacks: told about every seed's metrics and evaluations.
        stop: asked after every step; True saves and ends.
        **settings: see `FinetuningSettings`.

    Returns:
        What came out, which is also in the workdir; None if told to stop.

    Raises:
        UserError: a setting or an example that is not as it should be.
        DivergedError: loss or gradient is NaN or infinite.
    """
    check_callbacks(callbacks)
    asked = settings_of(FinetuningSettings, {"task": task, **settings})
    return run_finetuning(asked, callbacks, stop)


def run_finetuning(
    settings: FinetuningSettings,
    callbacks: Sequence[Callback] = (),
    stop: Callable[[], bool] = lambda: False,
    then: Callable[[FinetuningResult], None] = lambda _: None,
) -> FinetuningResult | None:
    """Do what `finetune` does, from settings in one value; `then` may add to the workdir."""
    with own_workdir(settings.workdir) as place:
        result = _run(settings, place, callbacks, stop)
        if result is not None:
            then(result)
        return result


def _run(
    settings: FinetuningSettings,
    place: Workdir,
    callbacks: Sequence[Callback],
    stop: Callable[[], bool],
) -> FinetuningResult | None:
    began = time.perf_counter()
    points = settings.points()
    steps = _Steps(settings)
    usual, asked = FinetuningSettings().written(), settings.written()
    if commit := steps.commit:  # not said in runs that are older than this
        usual, asked = {**usual, "commit": commit}, {**asked, "commit": commit}
    with prepared_workdir(place.folder, asked, _MAY_CHANGE, unwritten=usual) as workdir:
        data = read_task(settings)
        check_contents(workdir, contents(data.parts, steps.pretrained))
        parts = steps.prepare(data, workdir)
        for point in points:
            steps.of(point)  # a setting that cannot be is said now
    place.publish()
    start = head_start(steps.pretrained, parts.task.head, parts.task.labels)
    counts = label_counts(data.task, data.parts)
    remarks = [*data.remarks, *empty_text_remarks(parts.prepared)]
    told = [remark.said for remark in remarks]
    said = (*steps.pretrained.notes, *told, *shown_counts(counts), start.said)
    print(*said, sep="\n", file=sys.stderr)
    found: list[tuple[Point, Results]] = []
    for point in points:
        results = []
        for seed in settings.seeds:
            result = run_seed(
                steps.of(point),
                parts,
                steps.pretrained,
                _seed_settings(settings.at(point)),
                seed,
                workdir / _name(point) / f"seed{seed}",
                publish=place.publish if place.url else None,
                stop=stop,
                callbacks=callbacks,
                title=f"training {_name(point)} seed {seed}".replace("  ", " "),
            )
            if result is None:  # asked to stop; the same call continues
                return None
            results.append(result)
        found.append((point, results))
    more = {
        "labels": counts,
        "output_layer": {"kept": start.kept, "said": start.said},
        "data": {k: v for remark in remarks for k, v in remark.figures.items()},
    }
    return _finished(settings, place, parts, found, more, time.perf_counter() - began)


class _Steps:
    """Compiled steps, shared by the grid points that compute alike."""

    def __init__(self, settings: FinetuningSettings) -> None:
        self._settings = settings
        self._mesh = create_mesh(parse_mesh(settings.mesh))
        self.pretrained = _pretrained(settings)
        self._made: dict[str, Finetuner] = {}

    @property
    def commit(self) -> str | None:
        """Of a model that was fetched from the hub, which one it was."""
        source = self._settings.checkpoint
        if source is None or isinstance(source, Pretrained):
            return None
        return hub_commit(source, self.pretrained)

    def prepare(self, data: TaskData, workdir: Path) -> PreparedParts:
        """Token sequences of every part, from the workdir where they were made before."""
        tokenizer = self.pretrained.tokenizer
        assert tokenizer is not None
        prepared = {}
        for part, examples in data.parts.items():
            description = {
                "examples": fingerprint(examples),
                "vocabulary": tokenizer.vocab_hash,
                **text_settings(tokenizer),
                "labels": data.task.labels,
                "settings": {"task": data.task.name, **data.task.settings},
            }
            make = partial(_made, data.task, examples, tokenizer)
            arrays = cached(workdir / "features", description, make)
            prepared[part] = data.task.restored(arrays)
        self._weights = class_weights(data.task, data.parts["train"], self._settings.class_weights)
        self._parts = PreparedParts(data.task, data.parts, prepared, data.columns)
        return self._parts

    def of(self, point: Point) -> Finetuner:
        """The compiled steps of a grid point."""
        settings = self._settings.at(point)
        head_rate = settings.head_learning_rate
        relative = 1.0 if head_rate is None else head_rate / max(settings.learning_rate, 1e-30)
        rates = Rates(
            settings.layer_decay, relative, settings.freeze_embeddings, settings.freeze_layers
        )
        key = json.dumps(
            [settings.batch_size, settings.weight_decay, settings.dropout,
             dataclasses.astuple(rates)]
        )  # fmt: skip
        if key not in self._made:
            self._made[key] = self._assemble(settings, rates)
        return self._made[key]

    def _assemble(self, settings: FinetuningSettings, rates: Rates) -> Finetuner:
        size = self._parts.prepared["train"].features.unit_size
        backend, scan = jax.default_backend(), settings.scan_layers
        config = self.pretrained.config
        if settings.dropout is not None:
            config = config.replace(attention_probs_dropout_prob=settings.dropout)
        return assemble_finetuner(
            self.pretrained,
            self._parts.task.head,
            self._mesh,
            batch_rows=settings.batch_size * size,
            labels=self._parts.task.labels,
            unit_size=size,
            optimizer=settings.optimizer,
            weight_decay=settings.weight_decay,
            clip_norm=settings.clip_norm,
            rates=rates,
            class_weights=self._weights,
            dropout=settings.dropout,
            compute=Compute(
                dtype=settings.dtype,
                scan_layers=scans_layers(backend) if scan is None else scan,
                products=with_attention(
                    default_products(), settings.attention, config, self._mesh, backend
                ),
            ),
        )


def _pretrained(settings: FinetuningSettings) -> Pretrained:
    for name in ("task", "checkpoint"):
        if not getattr(settings, name):
            raise UserError(f"got no `{name}`; expected one")
    source = settings.checkpoint
    assert source is not None
    if isinstance(source, Pretrained):
        pretrained = source
    else:
        pretrained = load_pretrained(source, splitting=settings.splitting)
    if pretrained.tokenizer is None:
        raise UserError(
            f"got checkpoint={source} without a vocabulary; expected a vocab.txt or a"
            " tokenizer.json in it"
        )
    longest, width = pretrained.config.max_position_embeddings, pretrained.config.hidden_size
    if settings.max_length > longest:
        raise UserError(
            f"got max_length={settings.max_length}; expected at most the model's {longest}"
            " positions"
        )
    for point in settings.points():
        rows = settings.at(point).batch_size
        check_batch(rows, settings.max_length, width, f"batch_size={rows}")
    return pretrained


def _made(task: Task, examples: list[Any], tokenizer: Tokenizer) -> dict[str, np.ndarray]:
    return as_arrays(task.prepare(examples, tokenizer))


def _seed_settings(settings: FinetuningSettings) -> SeedSettings:
    names = [f.name for f in dataclasses.fields(SeedSettings)]
    return SeedSettings(**{name: getattr(settings, name) for name in names})


def _name(point: Point) -> str:
    return ",".join(f"{name}={value:g}" for name, value in point.items())


def _finished(
    settings: FinetuningSettings,
    place: Workdir,
    parts: PreparedParts,
    found: list[tuple[Point, Results]],
    more: Mapping[str, Any],
    seconds: float,
) -> FinetuningResult:
    """Choose by the development part, and write what came out."""
    main_score, workdir = parts.main_score, place.folder

    def dev(result: Mapping[str, Any]) -> float:
        return result["scores"]["dev"][main_score]

    point, results = max(found, key=lambda item: sum(map(dev, item[1])) / len(item[1]))
    best = max(results, key=dev)
    checkpoint = workdir / _name(point) / f"seed{best['seed']}" / "best"
    _link(workdir / "checkpoints", checkpoint, best["best_step"])
    speeds = [r["tokens_per_second"] for r in results if r["tokens_per_second"]]
    figures = {
        "scores": {
            part: {
                name: mean_and_deviation([r["scores"][part][name] for r in results])
                for name in results[0]["scores"][part]
            }
            for part in results[0]["scores"]
        },
        "seeds": [r["seed"] for r in results],
        "seconds": seconds,
        "seconds_per_seed": [r["seconds"] for r in results],
        "tokens_per_second": sum(speeds) / len(speeds) if speeds else None,
        "real_token_fraction": results[0]["real_token_fraction"],
        "compiled_shapes": max(r["compiled_shapes"] for r in results),
        "settings": {**dataclasses.asdict(_seed_settings(settings.at(point))), **point},
        "grid": [
            {**p, f"dev_{main_score}": mean_and_deviation([dev(r) for r in rs])} for p, rs in found
        ],
        "checkpoint": as_given(checkpoint),
        "examples": {part: len(examples) for part, examples in parts.examples.items()},
        "remarks": [remark for r in results for remark in r.get("remarks", ())],
        **more,
    }
    predictions = {}
    for part in parts.measured:
        predictions[part] = _read_lines(predictions_file(checkpoint.parent, part))
        write_json_lines(predictions_file(workdir, part), predictions[part])
    curves = {
        f"{name} {seed}": read_metrics(workdir / _name(point) / f"seed{seed}" / f"{name}.jsonl")
        for seed in figures["seeds"]
        for name in ("metrics", "heldout")
    }
    write_sealed(workdir / "result.json", figures)
    chosen = {k: v for k, v in load_json(checkpoint, "head")["settings"].items() if k != "task"}
    task = dataclasses.replace(cast(Any, parts.task), **chosen)  # such as a threshold
    return FinetuningResult(workdir, task, figures, predictions, curves)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _link(folder: Path, checkpoint: Path, step: int) -> None:
    """Make `folder/STEP` stand for `checkpoint`, so that the workdir is a checkpoint of ours."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():  # in a copy of a workdir it may be no link
        old.unlink() if old.is_symlink() else shutil.rmtree(old)
    (folder / str(step)).symlink_to(os.path.relpath(checkpoint, folder), target_is_directory=True)
    sync(folder, deep=False)


def mean_and_deviation(values: list[float]) -> dict[str, Any]:
    """Mean, sample standard deviation (None of one value), and the values."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": deviation, "per_seed": values}
