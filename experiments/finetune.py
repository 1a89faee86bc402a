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
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from absl import flags

from bert_jax.cli import command
from bert_jax.errors import UserError
from bert_jax.tasks.finetuning import GRID, FinetuningSettings, run_finetuning
from bert_jax.tasks.seed_run import DivergedError
from bert_jax.training.cpu_memory import keep_freed_memory
from bert_jax.training.optimizers import OPTIMIZERS
from bert_jax.training.preemption import StopRequest

from .finetune_report import write_report

FLAGS = flags.FLAGS
_USUAL = FinetuningSettings()
flags.DEFINE_string("workdir", str(_USUAL.workdir), "Holds everything the run makes.")
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
flags.DEFINE_float(
    "dev_fraction", _USUAL.dev_fraction, "Held back from --train where there is no --dev."
)
flags.DEFINE_float(
    "test_fraction", _USUAL.test_fraction, "Held back from --train where there is no --test."
)
flags.DEFINE_integer("split_seed", _USUAL.split_seed, "Of what is held back.", lower_bound=0)
flags.DEFINE_integer("epochs", _USUAL.epochs, "How often each example is met.", lower_bound=1)
flags.DEFINE_float("learning_rate", _USUAL.learning_rate, "The highest rate.", lower_bound=0.0)
flags.DEFINE_integer("batch_size", _USUAL.batch_size, "Examples a step.", lower_bound=1)
flags.DEFINE_integer("max_length", _USUAL.max_length, "Most tokens of a sequence.", lower_bound=5)
flags.DEFINE_integer("window_overlap", None, "Of qa; by default a third of --max_length.", 0)
flags.DEFINE_list("seeds", ["0"], "As in 0,1,2: of head, order and dropout.")
flags.DEFINE_multi_string("grid", [], "NAME=value,value of a flag. May be repeated.")
flags.DEFINE_enum("optimizer", _USUAL.optimizer, list(OPTIMIZERS), "How gradients become updates.")
flags.DEFINE_float(
    "warmup", _USUAL.warmup, "Steps that warm up; below 1, their share.", lower_bound=0.0
)
flags.DEFINE_float("weight_decay", _USUAL.weight_decay, "Of matrices and tables.", lower_bound=0.0)
flags.DEFINE_float(
    "clip_norm", _USUAL.clip_norm, "Largest gradient norm; 0 clips nothing.", lower_bound=0.0
)
flags.DEFINE_float("layer_decay", _USUAL.layer_decay, "Each layer's rate against the one above it.")
flags.DEFINE_float("head_learning_rate", None, "Of the output layer alone.", lower_bound=0.0)
flags.DEFINE_bool("freeze_embeddings", _USUAL.freeze_embeddings, "The three tables do not learn.")
flags.DEFINE_integer(
    "freeze_layers", _USUAL.freeze_layers, "Nor do the first so many layers.", lower_bound=0
)
flags.DEFINE_string("class_weights", _USUAL.class_weights, "balanced, or name:weight pairs.")
flags.DEFINE_float("dropout", None, "Instead of the checkpoint's.", 0.0, 0.9)
flags.DEFINE_integer(
    "patience", _USUAL.patience, "Evaluations without a better one; 0: no end.", lower_bound=0
)
flags.DEFINE_integer("evals_per_epoch", _USUAL.evals_per_epoch, "And checkpoints.", lower_bound=1)
flags.DEFINE_enum("dtype", _USUAL.dtype, ["float32", "bfloat16"], "What the model computes in.")
flags.DEFINE_bool("scan_layers", None, "Loop over layers: compiles faster. By default on TPUs.")
flags.DEFINE_string("mesh", "", "As in data:4,fsdp:2; by default all devices on data.")
flags.DEFINE_integer("log_every", _USUAL.log_every, "Steps between lines of metrics.", 1)


def main() -> None:
    """Train every seed of every grid point, and say what came out."""
    if jax.default_backend() == "cpu":
        keep_freed_memory()
    given: dict[str, Any] = {
        f.name: FLAGS[f.name].value for f in dataclasses.fields(FinetuningSettings)
    }
    given |= {
        "columns": tuple(FLAGS.columns),
        "grid": _grid(FLAGS.grid),
        "seeds": tuple(command.whole_numbers("seeds", FLAGS.seeds, least=0)),
    }
    with StopRequest() as stop:
        try:
            result = run_finetuning(FinetuningSettings(**given), stop=lambda: bool(stop))
        except DivergedError as error:
            print(error, file=sys.stderr)
            sys.exit(1)
    if result is None:  # asked to stop; the same command continues
        return
    write_report(result.workdir, result.task, result.predictions, result.figures, result.curves)
    command.print_table(f"Fine-tuning in {result.workdir}", _shown(result.figures))


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
