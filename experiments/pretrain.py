r"""Pretrain a BERT from raw text: masked LM and next sentence prediction.

    python -m experiments.pretrain        # on the documentation of the installed packages
    python -m experiments.pretrain --workdir=runs/books --corpus='books/*.txt' --model=base
    python -m experiments.pretrain --workdir=runs/mine --corpus=mine --init_checkpoint=MODEL

The last one goes on from a model that is trained: a run of ours, a Hugging Face directory or hub
name, a Google checkpoint (docs/pretraining.md).

Text becomes a WordPiece vocabulary, then a tokenised corpus, then batches that are a pure function
of (corpus, seed, step). The same command with the same workdir continues where it stopped, bit for
bit, whenever and however it was killed. In the workdir:

    config.json     what was asked for         metrics.jsonl   a line per logged step
    vocab.txt       the vocabulary             heldout.jsonl   a line per evaluation
    corpus/         tokenised documents        tensorboard/    the same, for TensorBoard
    checkpoints/    newest and best            result.json     what came out

With --init_checkpoint, also `start.json`, what the run began with, and, with another vocabulary,
`vocabulary_move.json`, what became of every piece. With --audit_every, also `audit.jsonl` and
`audit.npz`: which rows of the token table the steps changed, and which of them their batches held
(`bert_jax.training.update_audit`).

Text that is not made of words says so: `--splitting=spaces`, or a regular expression of which every
match is a piece (docs/tokenizer.md).
"""

import os
import sys
from pathlib import Path
from typing import Any

from absl import flags

from bert_jax.analysis.neighbour_table import print_neighbours
from bert_jax.cli import command
from bert_jax.cli.compiled_programs import define_compilation_cache
from bert_jax.cli.settings import define_flags, given_settings
from bert_jax.data.sources import open_source
from bert_jax.first_process import is_first
from bert_jax.training.loop import NotFiniteError
from bert_jax.training.pretraining import PretrainingResult, pretrain
from bert_jax.training.pretraining_settings import PretrainingSettings
from bert_jax.training.processes import join_processes

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "workdir",
    "runs/pretrain",
    "Folder for everything the run writes; the same one continues the run.",
)
flags.DEFINE_multi_string(
    "corpus",
    ["python_docs"],
    "Text to train on: python_docs, files, folders, globs, tfds:NAME, or a folder made by"
    " build_corpus. May be repeated.",
)
define_flags(PretrainingSettings)
flags.DEFINE_string("coordinator", None, "For a run of several processes: host:port of process 0.")
flags.DEFINE_integer("processes", None, "Number of processes.", lower_bound=1)
flags.DEFINE_integer("process_id", None, "Number of this process, from 0.", lower_bound=0)
flags.DEFINE_bool(
    "distributed", False, "Take these three from the platform: Cloud TPU, GKE, Slurm."
)
flags.DEFINE_list(
    "words",
    [],
    "Print the nearest neighbours of these words at the end; by default of a few frequent ones.",
)
define_compilation_cache()

_GROUPS = {
    "Used first": ("corpus", "workdir", "model", "steps", "init_checkpoint"),
    "Text and vocabulary": (
        "vocab", "vocab_size", "add_tokens", "lowercase", "splitting", "heldout_fraction",
    ),
    "What the run starts from": ("init_embeddings", "init_parts", "freeze", "branch_from", "seed"),
    "Model": ("untied", "hidden_dropout", "attention_dropout"),
    "Batches and what is predicted": (
        "batch_size", "phases", "pack", "objective", "masking", "mask_rate", "mask_fraction",
        "random_fraction",
    ),
    "Optimiser": (
        "optimizer", "learning_rate", "schedule", "warmup", "decay", "decay_power", "weight_decay",
        "clip_norm",
    ),
    "Speed and memory": (
        "dtype", "accumulate", "mesh", "attention", "scan_layers", "remat", "loader_workers",
        "compilation_cache", "profile",
    ),
    "Evaluation and checkpoints": (
        "eval_every", "eval_batches", "checkpoint_every", "keep", "log_every", "audit_every",
        "words",
    ),
    "Several machines": ("coordinator", "processes", "process_id", "distributed"),
}  # fmt: skip


def main() -> None:
    """Train, and say what came out."""
    join_processes(
        FLAGS.coordinator, FLAGS.processes, FLAGS.process_id, distributed=FLAGS.distributed
    )
    corpus = FLAGS.corpus[0] if len(FLAGS.corpus) == 1 else open_source(FLAGS.corpus)
    try:
        result = pretrain(corpus, FLAGS.workdir, **given_settings(PretrainingSettings))
    except NotFiniteError as error:
        if is_first():
            command.failed(str(error))
        sys.exit(1)
    if result is None:
        command.stopped()
    if not is_first():
        return
    command.print_table(f"Pretraining in {FLAGS.workdir}", _shown(result))
    print_neighbours(Path(result.checkpoint), result.corpus, FLAGS.words)


def _shown(result: PretrainingResult) -> dict[str, Any]:
    speed = result.tokens_per_second
    return {
        "steps": result.steps,
        "seconds": f"{result.seconds:.0f}",
        "tokens a second": "-" if speed is None else f"{speed:,.0f}",
        "peak memory": f"{result.peak_rss_bytes / 2**20:,.0f} MiB",
        **_start(result),
        "held-out MLM loss": f"{result.heldout_mlm_loss:.3f} nats",
        "  a unigram model at best": f"{result.heldout_unigram_entropy:.3f} nats",
        "held-out MLM accuracy": f"{result.heldout_mlm_accuracy:.1%}",
        **_next_sentence(result),
        "checkpoint": os.path.join(FLAGS.workdir, "checkpoints", str(result.steps)),
    }


def _start(result: PretrainingResult) -> dict[str, str]:
    """Its rows, where the run started from a model."""
    origin = result.initialised_from
    if origin is None:
        return {}
    shown = {"started from": origin["checkpoint"], "  drawn": ", ".join(origin["drawn"]) or "-"}
    if (moved := origin.get("vocabulary")) is not None:
        after = moved["after"]
        shown["  pieces"] = f"{moved['before']:,} → {after:,}, {moved['dropped']:,} dropped"
        for name in ("copied", "composed", "not_spelled"):
            shown[f"  {name.replace('_', ' ')}"] = f"{moved[name]:,} ({moved[name] / after:.1%})"
    shown["  its held-out MLM loss"] = f"{result.heldout_start_mlm_loss:.3f} nats"
    if result.heldout_start_nsp_accuracy is not None:
        shown["  its held-out NSP accuracy"] = f"{result.heldout_start_nsp_accuracy:.1%}"
    return shown


def _next_sentence(result: PretrainingResult) -> dict[str, str]:
    """Its row, where it was an objective."""
    if result.heldout_nsp_interval is None:
        return {}
    low, high = result.heldout_nsp_interval
    words = f"{result.heldout_nsp_accuracy:.1%} (95 % interval {low:.1%} to {high:.1%})"
    return {"held-out NSP accuracy": words}


if __name__ == "__main__":
    command.run(main, groups=_GROUPS)
