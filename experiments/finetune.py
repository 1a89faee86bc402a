r"""Fine-tune a pretrained BERT with one output layer, and score it as the field does.

    python -m experiments.finetune --task=classification --checkpoint=runs/pretrain \
        --train=train.tsv --dev=dev.tsv --test=test.tsv --seeds=0,1,2 --workdir=runs/mine
    python -m experiments.finetune --task=glue/cola --checkpoint=bert-base-uncased

Tasks: classification and regression of a text or a pair of texts (TSV, CSV, JSON lines), qa (SQuAD
JSON), tagging (CoNLL columns, CoNLL-U), multiple_choice (JSON lines), and by name glue/cola …
glue/wnli, squad, squad/v2.0. Any file may also be tfds:NAME:SPLIT. The same command continues where
it stopped, bit for bit; more seeds or grid points are added to what is there. In the workdir:

    config.json    what was asked for       seed0/ …  curves, predictions, best parameters
    checkpoints/   the best seed's          predictions_dev.jsonl, predictions_test.jsonl
    result.json    scores: mean, std, and per seed           report.html     look at this

On 2 cores without an accelerator, all-MiniLM-L6-v2 took 116 s a seed for 4,274 sentences of ATIS
(two epochs) and 336 s for 2,186 questions of SQuAD (one); docs/finetuning.md has scores and times
beside those of transformers.
"""

import dataclasses
import hashlib
import itertools
import json
import os
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from jax.sharding import Mesh

from bert_jax.cli import command
from bert_jax.convert.contents import Pretrained
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.errors import UserError
from bert_jax.kernels.compute import Compute, scans_layers
from bert_jax.tasks.features import as_arrays, cached
from bert_jax.tasks.finetuner import Finetuner, assemble_finetuner
from bert_jax.tasks.rate_factors import Rates
from bert_jax.tasks.task import Task
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.training.cpu_memory import keep_freed_memory
from bert_jax.training.optimizers import OPTIMIZERS
from bert_jax.training.preemption import StopRequest
from bert_jax.training.sharding import create_mesh, parse_mesh
from bert_jax.training.workdir import prepared_workdir
from bert_jax.whole_file import write_json, write_json_lines

from .finetune_report import write_report
from .finetune_seed import (
    PreparedParts,
    RunSettings,
    mean_and_deviation,
    predictions_file,
    run_seed,
)
from .task_data import DataFlags, TaskData, class_weights, read_task

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", "runs/finetune", "Holds everything the run makes.")
flags.DEFINE_string(
    "task", None, "classification, regression, qa, tagging, multiple_choice, glue/NAME, squad, …"
)
flags.DEFINE_string("checkpoint", None, "Ours, Hugging Face's or Google's, or a name on the hub.")
flags.DEFINE_string("train", None, "A file, or tfds:NAME:SPLIT.")
flags.DEFINE_string("dev", None, "As --train; by default cut from it.")
flags.DEFINE_string("test", None, "As --train; scored once, at the end, by the best checkpoint.")
flags.DEFINE_list("columns", [], "Names for the columns of a TSV or CSV without a header line.")
flags.DEFINE_string("text_column", None, "By default text; of multiple choice, question.")
flags.DEFINE_string("text_pair_column", None, "A second text, for pairs.")
flags.DEFINE_string("label_column", None, "By default label, answer, upos, or the last column.")
flags.DEFINE_string("choices_column", "choices", "Of multiple choice.")
flags.DEFINE_float("dev_fraction", 0.1, "Held back from --train where there is no --dev.")
flags.DEFINE_float("test_fraction", 0.0, "Held back from --train where there is no --test.")
flags.DEFINE_integer("split_seed", 0, "Of what is held back.", lower_bound=0)
flags.DEFINE_integer("epochs", 3, "How often each example is met.", lower_bound=1)
flags.DEFINE_float("learning_rate", 3e-5, "The highest rate.", lower_bound=0.0)
flags.DEFINE_integer("batch_size", 32, "Examples a step.", lower_bound=1)
flags.DEFINE_integer("max_length", 128, "Most tokens of a sequence.", lower_bound=5)
flags.DEFINE_integer("window_overlap", None, "Of qa; by default a third of --max_length.", 0)
flags.DEFINE_list("seeds", ["0"], "As in 0,1,2: of head, order and dropout.")
flags.DEFINE_multi_string("grid", [], "NAME=value,value of a flag. May be repeated.")
flags.DEFINE_enum("optimizer", "adamw", list(OPTIMIZERS), "How gradients become updates.")
flags.DEFINE_float("warmup", 0.1, "Steps that warm up; below 1, their share.", lower_bound=0.0)
flags.DEFINE_float("weight_decay", 0.01, "Of matrices and tables.", lower_bound=0.0)
flags.DEFINE_float("clip_norm", 1.0, "Largest gradient norm; 0 clips nothing.", lower_bound=0.0)
flags.DEFINE_float("layer_decay", 1.0, "Each layer's rate against the one above it.")
flags.DEFINE_float("head_learning_rate", None, "Of the output layer alone.", lower_bound=0.0)
flags.DEFINE_bool("freeze_embeddings", False, "The three tables do not learn.")
flags.DEFINE_integer("freeze_layers", 0, "Nor do the first so many layers.", lower_bound=0)
flags.DEFINE_string("class_weights", "", "balanced, or name:weight pairs.")
flags.DEFINE_float("dropout", None, "Instead of the checkpoint's.", 0.0, 0.9)
flags.DEFINE_integer("patience", 0, "Evaluations without a better one; 0: no end.", lower_bound=0)
flags.DEFINE_integer("evals_per_epoch", 1, "And checkpoints.", lower_bound=1)
flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "What the model computes in.")
flags.DEFINE_bool("scan_layers", None, "Loop over layers: compiles faster. By default on TPUs.")
flags.DEFINE_string("mesh", "", "As in data:4,fsdp:2; by default all devices on data.")
flags.DEFINE_integer("log_every", 10, "Steps between lines of metrics.", lower_bound=1)

# What a run computes does not depend on these: they may differ when it is continued.
_MAY_CHANGE = ("seeds", "grid", "log_every", "mesh", "scan_layers")
_SETTINGS = (
    "task", "checkpoint", "train", "dev", "test", "columns", "text_column", "text_pair_column",
    "label_column", "choices_column", "dev_fraction", "test_fraction", "split_seed", "epochs",
    "learning_rate", "batch_size", "max_length", "window_overlap", "optimizer", "warmup",
    "weight_decay", "clip_norm", "layer_decay", "head_learning_rate", "freeze_embeddings",
    "freeze_layers", "class_weights", "dropout", "patience", "evals_per_epoch", "dtype",
    *_MAY_CHANGE,
)  # fmt: skip
_GRID = {
    "epochs": int, "learning_rate": float, "batch_size": int, "warmup": float,
    "weight_decay": float, "layer_decay": float, "head_learning_rate": float, "dropout": float,
    "freeze_layers": int,
}  # fmt: skip

Point = dict[str, Any]


def main() -> None:
    """Read, prepare, train every seed of every grid point, and say what came out."""
    began = time.perf_counter()
    if jax.default_backend() == "cpu":
        keep_freed_memory()
    settings = {name: FLAGS[name].value for name in _SETTINGS}
    points, seeds = _points(FLAGS.grid), command.whole_numbers("seeds", FLAGS.seeds, least=0)
    mesh = create_mesh(parse_mesh(FLAGS.mesh))
    pretrained = _pretrained()
    with prepared_workdir(FLAGS.workdir, settings, _MAY_CHANGE) as workdir:
        data = read_task(_data_flags())
        parts = _prepare(data, pretrained, workdir)
        runs = _Runs(pretrained, parts, class_weights(data.task, data, FLAGS.class_weights), mesh)
        for point in points:
            runs.of(point)  # a setting that cannot be is said now
    found: list[tuple[Point, list[dict[str, Any]]]] = []
    with StopRequest() as stop:
        for point in points:
            results = []
            for seed in seeds:
                directory = workdir / _name(point) / f"seed{seed}"
                title = f"training {_name(point)} seed {seed}".replace("  ", " ")
                result = run_seed(
                    runs.of(point), parts, pretrained, _run_settings(point), seed, directory,
                    lambda: bool(stop), title,
                )  # fmt: skip
                if result is None:  # asked to stop; the same command continues
                    return
                results.append(result)
            found.append((point, results))
    _finish(workdir, parts, found, time.perf_counter() - began)


def _pretrained() -> Pretrained:
    for name in ("task", "checkpoint"):
        if not FLAGS[name].value:
            raise UserError(f"got no --{name}; expected one, see --help")
    pretrained = load_pretrained(FLAGS.checkpoint)
    if pretrained.tokenizer is None:
        raise UserError(
            f"got --checkpoint={FLAGS.checkpoint} without a vocabulary; expected a vocab.txt or a"
            " tokenizer.json in it"
        )
    longest = pretrained.config.max_position_embeddings
    if FLAGS.max_length > longest:
        raise UserError(
            f"got --max_length={FLAGS.max_length}; expected at most the model's {longest} positions"
        )
    return pretrained


def _data_flags() -> DataFlags:
    names = [field.name for field in dataclasses.fields(DataFlags)]
    values: dict[str, Any] = {name: FLAGS[name].value for name in names}
    default = {"multiple_choice": "question", "tagging": "tokens"}.get(FLAGS.task, "text")
    values["text_column"] = values["text_column"] or default
    return DataFlags(**{**values, "columns": tuple(values["columns"])})


def _prepare(data: TaskData, pretrained: Pretrained, workdir: Path) -> PreparedParts:
    """Token sequences of every part, from the cache in the workdir where they were made before."""
    task, tokenizer = data.task, pretrained.tokenizer
    assert tokenizer is not None
    prepared = {}
    for part, examples in data.parts.items():
        description = {
            "examples": hashlib.sha256(repr(examples).encode()).hexdigest(),
            "vocabulary": tokenizer.vocab_hash,
            "lowercase": tokenizer.lowercase,
            "strip_accents": tokenizer.strip_accents,
            "split_chinese": tokenizer.split_chinese,
            "labels": task.labels,
            "settings": task.settings,
        }
        make = partial(_made, task, examples, tokenizer)
        prepared[part] = task.restored(cached(workdir / "features", description, make))
    return PreparedParts(task, data.parts, prepared)


def _made(task: Task, examples: list[Any], tokenizer: Tokenizer) -> dict[str, np.ndarray]:
    return as_arrays(task.prepare(examples, tokenizer))


class _Runs:
    """Compiled steps, shared by the grid points that compute alike."""

    def __init__(
        self, pretrained: Pretrained, parts: PreparedParts, weights: Any, mesh: Mesh
    ) -> None:
        self._pretrained, self._parts, self._weights = pretrained, parts, weights
        self._mesh = mesh
        self._made: dict[str, Finetuner] = {}

    def of(self, point: Point) -> Finetuner:
        """The compiled steps of a grid point."""
        wanted = {name: _value(point, name) for name in _GRID}
        rate, head_rate = wanted.pop("learning_rate"), wanted["head_learning_rate"]
        wanted["head_learning_rate"] = 1.0 if head_rate is None else head_rate / max(rate, 1e-30)
        for name in ("epochs", "warmup"):
            wanted.pop(name)
        key = json.dumps(wanted)
        if key not in self._made:
            self._made[key] = self._assemble(wanted)
        return self._made[key]

    def _assemble(self, wanted: Mapping[str, Any]) -> Finetuner:
        scan: bool | None = FLAGS.scan_layers
        size = self._parts.prepared["train"].features.unit_size
        return assemble_finetuner(
            self._pretrained,
            self._parts.task.head,
            self._mesh,
            batch_rows=wanted["batch_size"] * size,
            labels=self._parts.task.labels,
            unit_size=size,
            optimizer=FLAGS.optimizer,
            weight_decay=wanted["weight_decay"],
            clip_norm=FLAGS.clip_norm,
            rates=Rates(
                wanted["layer_decay"], wanted["head_learning_rate"], FLAGS.freeze_embeddings,
                wanted["freeze_layers"],
            ),
            class_weights=self._weights,
            dropout=wanted["dropout"],
            compute=Compute(
                dtype=FLAGS.dtype,
                scan_layers=scans_layers(jax.default_backend()) if scan is None else scan,
            ),
        )  # fmt: skip


def _points(grid: list[str]) -> list[Point]:
    """["epochs=2,3", "warmup=0"] -> [{epochs: 2, warmup: 0.0}, {epochs: 3, warmup: 0.0}]"""
    axes = []
    for text in grid:
        name, _, values = text.partition("=")
        try:
            axes.append([(name, _GRID[name](value)) for value in values.split(",")])
        except (KeyError, ValueError):
            raise UserError(
                f"got --grid={text}; expected NAME=value,value with one of {', '.join(_GRID)}"
            ) from None
    if len({axis[0][0] for axis in axes}) < len(axes):
        raise UserError(f"got --grid={' --grid='.join(grid)}; expected each name once")
    return [dict(point) for point in itertools.product(*axes)]


def _value(point: Point, name: str) -> Any:
    return point.get(name, FLAGS[name].value)


def _run_settings(point: Point) -> RunSettings:
    names = [field.name for field in dataclasses.fields(RunSettings)]
    return RunSettings(**{name: _value(point, name) for name in names})


def _name(point: Point) -> str:
    return ",".join(f"{name}={value:g}" for name, value in point.items())


def _finish(
    workdir: Path,
    parts: PreparedParts,
    found: list[tuple[Point, list[dict[str, Any]]]],
    seconds: float,
) -> None:
    """Choose by the development part, write what came out, and print it."""
    main_score = next(iter(found[0][1][0]["scores"]["dev"]))

    def dev(result: Mapping[str, Any]) -> float:
        return result["scores"]["dev"][main_score]

    point, results = max(found, key=lambda item: sum(map(dev, item[1])) / len(item[1]))
    best = max(results, key=dev)
    checkpoint = workdir / _name(point) / f"seed{best['seed']}" / "best"
    _link(workdir / "checkpoints", checkpoint, best["best_step"])
    speeds = [r["tokens_per_second"] for r in results if r["tokens_per_second"]]
    result = {
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
        "settings": {**dataclasses.asdict(_run_settings(point)), **point},
        "grid": [
            {**p, f"dev_{main_score}": mean_and_deviation([dev(r) for r in rs])} for p, rs in found
        ],
        "checkpoint": str(checkpoint),
        "examples": {part: len(examples) for part, examples in parts.examples.items()},
    }
    predictions = {
        part: _copy_predictions(checkpoint.parent, workdir, part) for part in parts.measured
    }
    write_report(workdir, parts.task, predictions, result, _curves(workdir / _name(point), results))
    write_json(workdir / "result.json", result)
    command.print_table(f"Fine-tuning in {workdir}", _shown(result))


def _copy_predictions(seed_directory: Path, workdir: Path, part: str) -> list[dict[str, Any]]:
    content = predictions_file(seed_directory, part).read_text(encoding="utf-8")
    rows = [json.loads(line) for line in content.splitlines()]
    write_json_lines(predictions_file(workdir, part), rows)
    return rows


def _curves(directory: Path, results: list[dict[str, Any]]) -> dict[str, list[dict[str, float]]]:
    curves = {}
    for result in results:
        folder = directory / f"seed{result['seed']}"
        for name in ("metrics", "heldout"):
            lines = (folder / f"{name}.jsonl").read_text().splitlines()
            curves[f"{name} {result['seed']}"] = [json.loads(line) for line in lines]
    return curves


def _link(folder: Path, checkpoint: Path, step: int) -> None:
    """Make `folder/STEP` stand for `checkpoint`, so that the workdir is a checkpoint of ours."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    (folder / str(step)).symlink_to(os.path.relpath(checkpoint, folder), target_is_directory=True)


def _shown(result: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if len(result["grid"]) > 1:
        shown["best of the grid"] = ", ".join(
            f"{name} {value}" for name, value in result["settings"].items()
        )
    for part, scores in result["scores"].items():
        for name, figure in scores.items():
            spread = "" if figure["std"] is None else f" ± {figure['std']:.4f}"
            shown[f"{part} {name}"] = f"{figure['mean']:.4f}{spread}"
    speed = result["tokens_per_second"]
    return {
        **shown,
        "seeds": ", ".join(map(str, result["seeds"])),
        "seconds": f"{result['seconds']:.0f}",
        "tokens a second": "-" if speed is None else f"{speed:,.0f}",
        "real tokens": f"{result['real_token_fraction']:.1%} of the training batches",
        "shapes compiled": result["compiled_shapes"],
        "checkpoint": result["checkpoint"],
    }


if __name__ == "__main__":
    command.run(main)
