r"""Fine-tune a pretrained BERT with one output layer, and score it as the field does.

    python -m experiments.finetune --task=classification --checkpoint=runs/pretrain \
        --train=train.tsv --dev=dev.tsv --test=test.tsv --seeds=0,1,2 --workdir=runs/mine
    python -m experiments.finetune --task=glue/cola --checkpoint=bert-base-uncased

Tasks: classification, multi_label (several classes at once) and regression of a text or a pair of
texts (TSV, CSV, JSON lines), qa (SQuAD JSON), tagging (CoNLL columns, CoNLL-U), multiple_choice
(JSON lines), similarity of two texts (with scores or without), and by name glue/cola … glue/wnli,
squad, squad/v2.0. Any file may also be tfds:NAME:SPLIT. The same command continues where it
stopped, bit for bit; more seeds or grid points are added to what is there, and other examples or
weights under the same names are refused. In the workdir:

    config.json    what was asked for       seed0/ …  curves, predictions, best parameters
    checkpoints/   the best seed's          predictions_dev.jsonl, predictions_test.jsonl
    result.json    scores: mean, std, and per seed           report.html     look at this
    contents.json  hashes of examples and weights

On 2 cores without an accelerator, all-MiniLM-L6-v2 took 116 s a seed for 4,274 sentences of ATIS
(two epochs) and 336 s for 2,186 questions of SQuAD (one); docs/finetuning.md has scores and times
beside those of transformers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
from absl import flags

from bert_jax.arguments import MOST_SEED
from bert_jax.cli import command
from bert_jax.cli.compiled_programs import define_compilation_cache
from bert_jax.cli.settings import define_flags, given_settings
from bert_jax.errors import UserError
from bert_jax.tasks.finetuning import GRID, FinetuningResult, FinetuningSettings, run_finetuning
from bert_jax.tasks.report_page import write_report
from bert_jax.tasks.seed_run import DivergedError
from bert_jax.training.cpu_memory import keep_freed_memory

FLAGS = flags.FLAGS
define_flags(FinetuningSettings)
flags.DEFINE_list(
    "seeds",
    ["0"],
    "Random seeds, as in 0,1,2: output layer, order of the examples and dropout; one run each.",
)
flags.DEFINE_multi_string(
    "grid", [], "NAME=value,value: try these values of a flag and keep the best. May be repeated."
)
define_compilation_cache()

_GROUPS = {
    "Used first": ("task", "checkpoint", "train", "dev", "workdir"),
    "Examples": (
        "test", "dev_fraction", "test_fraction", "split_seed", "columns", "text_column",
        "text_pair_column", "label_column", "label_columns", "label_delimiter", "choices_column",
        "leave_out_labels", "bad_answers", "splitting", "max_length", "window_overlap",
    ),
    "Training": (
        "epochs", "learning_rate", "batch_size", "seeds", "grid", "optimizer", "warmup",
        "weight_decay", "clip_norm", "dropout", "class_weights", "patience", "evals_per_epoch",
    ),
    "Layers that learn more slowly, or not at all": (
        "layer_decay", "head_learning_rate", "freeze_embeddings", "freeze_layers",
    ),
    "Speed and memory": (
        "dtype", "attention", "scan_layers", "mesh", "compilation_cache", "log_every",
    ),
}  # fmt: skip


def main() -> None:
    """Train every seed of every grid point, and say what came out."""
    if jax.default_backend() == "cpu":
        keep_freed_memory()
    settings = FinetuningSettings(
        **given_settings(FinetuningSettings),
        seeds=tuple(command.whole_numbers("seeds", FLAGS.seeds, 0, MOST_SEED)),
        grid=_grid(FLAGS.grid),
    )
    try:
        result = run_finetuning(settings, then=_report)
    except DivergedError as error:
        command.failed(str(error))
    if result is None:
        command.stopped()
    command.print_table(f"Fine-tuning in {settings.workdir}", _shown(result.figures))


def _report(result: FinetuningResult) -> None:
    write_report(result.workdir, result.task, result.predictions, result.figures, result.curves)


def _grid(texts: Sequence[str]) -> dict[str, list[float]]:
    """["epochs=2,3", "warmup=0"] -> {epochs: [2, 3], warmup: [0.0]}"""
    grid: dict[str, list[float]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        try:
            axis = [GRID[name](value) for value in values.split(",")]
        except (KeyError, ValueError):
            raise UserError(
                f"got --grid={text}; expected NAME=value,value with one of {', '.join(GRID)}"
            ) from None
        if name in grid:
            raise UserError(f"got --grid={' --grid='.join(texts)}; expected each name once")
        grid[name] = axis
    return grid


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
    for number, remark in enumerate(result["remarks"], 1):
        shown[f"remark {number}"] = remark
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
    command.run(main, groups=_GROUPS)
