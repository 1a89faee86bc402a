r"""Is it worth starting from a trained model? The same architecture, from scratch and continued.

    python -m experiments.benchmarks.continued_pretraining --checkpoint=MODEL --corpus=FOLDER \
        --prompts="a [MASK] is a data structure|the [MASK] of a file"

A vocabulary is learned from the corpus, and both sides train with it on the same batches, for every
seed: one draws all parameters, the other takes those of the checkpoint and moves its tables to the
vocabulary (`pretrain(…, init_checkpoint=…)`). Printed, mean over seeds, at every evaluation:

    bits per character   held-out masked LM: nats a piece / ln 2 × pieces per character
    steps                the first evaluation at which the continued run is at least as good as the
                         other at its very end, in parts of the whole (both rates fall over the same
                         steps, so the continued one is judged before its rate has fallen)

and what both fill into the prompts at the end, best first. Runs stay in `--workdir`, and the same
command goes on there. `--only=scratch` trains that side alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from rich.table import Table

from bert_jax.arguments import MOST_SEED
from bert_jax.cli import command
from bert_jax.console import plain_console
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.data.corpus import Corpus
from bert_jax.data.preparation import prepare_corpus
from bert_jax.errors import UserError
from bert_jax.inference.fill_mask import MaskFiller
from bert_jax.training.metrics import read_metrics
from bert_jax.training.pretraining import pretrain
from bert_jax.training.workdir import Workdir, own_workdir
from bert_jax.whole_file import write_json

_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "The trained model.", required=True)
_CORPUS = flags.DEFINE_string("corpus", "python_docs", "What `pretrain` takes as its --corpus.")
_VOCAB_SIZE = flags.DEFINE_integer(
    "vocab_size", 8192, "Size of the learned vocabulary, in tokens.", 100
)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Random seeds of the runs.")
_STEPS = flags.DEFINE_integer(
    "steps", 300, "Length of each run, in optimiser steps.", lower_bound=10
)
_BATCH = flags.DEFINE_integer("batch_size", 16, "Batch size, in rows.", lower_bound=1)
_LENGTH = flags.DEFINE_integer("length", 128, "Tokens per row.", lower_bound=8)
_EVAL_BATCHES = flags.DEFINE_integer(
    "eval_batches", 8, "Held-out batches per evaluation, 20 evaluations a run.", 1
)
_SCRATCH_RATE = flags.DEFINE_float("scratch_rate", 1e-3, "Peak learning rate from scratch.")
_CONTINUED_RATE = flags.DEFINE_float(
    "continued_rate", 5e-4, "Peak learning rate of continued runs."
)
_DTYPE = flags.DEFINE_enum(
    "dtype", "bfloat16", ["float32", "bfloat16"], "What the model computes in."
)
_PROMPTS = flags.DEFINE_string("prompts", "", "Texts with [MASK], separated by |.")
_ONLY = flags.DEFINE_enum("only", None, ["scratch", "continued"], "Train one side, then stop.")
_WORKDIR = flags.DEFINE_string("workdir", "runs/continued", "Folder for runs and result.json.")

Curve = Mapping[int, float]
"""Held-out masked LM by step, nats."""


def main() -> None:
    """Train both sides with every seed, and print how they compare."""
    with own_workdir(_WORKDIR.value or "") as place:
        compare_starts(place)


def compare_starts(workdir: Workdir) -> None:
    """Do so in a working directory of this process."""
    corpus = prepare_corpus(
        [_CORPUS.value or ""], vocab_size=_VOCAB_SIZE.value or 0, workdir=workdir.folder
    )
    vocab = str(corpus.data_dir / "vocab.txt")
    sides: dict[str, dict[str, Any]] = {
        "scratch": {
            "model": load_pretrained(_CHECKPOINT.value or "").config,
            "learning_rate": _SCRATCH_RATE.value,
        },
        "continued": {
            "init_checkpoint": _CHECKPOINT.value,
            "vocab": vocab,
            "learning_rate": _CONTINUED_RATE.value,
        },
    }
    wanted = [_ONLY.value] if _ONLY.value else list(sides)
    places = {
        side: [
            _train(corpus, workdir, f"{side}_{seed}", seed, sides[side])
            for seed in command.whole_numbers("seeds", _SEEDS.value or [], 0, MOST_SEED)
        ]
        for side in wanted
    }
    if _ONLY.value:
        return
    curves = {side: [curve_of(place) for place in found] for side, found in places.items()}
    bits = bits_per_character(corpus)
    record = {
        side: [{str(k): v for k, v in c.items()} for c in found] for side, found in curves.items()
    }
    reached = [
        first_as_good(c, s) for c, s in zip(curves["continued"], curves["scratch"], strict=True)
    ]
    write_json(
        workdir.folder / "result.json",
        {"heldout_mlm_loss": record, "bits_per_nat": bits, "as_good_at": reached},
    )
    plain_console().print(_table(curves, bits))
    print(
        "as good as from scratch at the end: at step"
        f" {', '.join(map(str, reached))} of {_STEPS.value:,}, one figure per seed"
    )
    if _PROMPTS.value:
        plain_console().print(_filled({side: found[0] for side, found in places.items()}))


def _train(
    corpus: Corpus, workdir: Workdir, name: str, seed: int, changes: Mapping[str, Any]
) -> Path:
    steps, place = _STEPS.value or 10, workdir.folder / name
    result = pretrain(
        corpus.data_dir, place, steps=steps, seed=seed, batch_size=_BATCH.value,
        phases=f"{_LENGTH.value}:1.0", pack=8, dtype=_DTYPE.value, eval_every=max(steps // 20, 1),
        eval_batches=_EVAL_BATCHES.value,
        checkpoint_every=0, keep=1, **changes,
    )  # fmt: skip
    workdir.publish()
    if result is None:
        raise SystemExit(143)
    return place


def curve_of(workdir: Path) -> Curve:
    """The evaluations of a run, by step."""
    lines = read_metrics(workdir / "heldout.jsonl")
    return {int(line["step"]): line["heldout_mlm_loss"] for line in lines}


def first_as_good(curve: Curve, other: Curve) -> int | None:
    """The first step at which a run is at least as good as another at its end."""
    goal = other[max(other)]
    return next((step for step, loss in sorted(curve.items()) if loss <= goal), None)


def bits_per_character(corpus: Corpus) -> float:
    """What one nat a piece is in bits per character of the held-out text."""
    pieces = corpus.tokenizer.pieces
    lengths = np.array([len(p.removeprefix("##")) for p in pieces])
    words = ~np.asarray(corpus.tokenizer.is_continuation)
    held_out = np.asarray(corpus.heldout.pieces)
    characters = int((lengths + words)[held_out].sum())  # a blank before every word
    if not characters:
        raise UserError("got a corpus without held-out text; expected some to measure with")
    return len(held_out) / characters / float(np.log(2))


def _table(curves: Mapping[str, Sequence[Curve]], bits: float) -> Table:
    shown = Table(title="Held-out bits per character", title_justify="left")
    for heading in ("step", *curves):
        shown.add_column(heading)
    for step in sorted({step for runs in curves.values() for run in runs for step in run}):
        cells = []
        for runs in curves.values():
            found = [bits * run[step] for run in runs if step in run]
            spread = f" ± {np.std(found, ddof=1):.3f}" if len(found) > 1 else ""
            cells.append(f"{np.mean(found):.3f}{spread}" if found else "")
        shown.add_row(f"{step:,}", *cells)
    return shown


def _filled(places: Mapping[str, Path]) -> Table:
    prompts = (_PROMPTS.value or "").split("|")
    shown = Table(title="What they fill in, best first", title_justify="left")
    for heading in ("text", *places):
        shown.add_column(heading)
    answers = {side: MaskFiller.from_pretrained(place)(prompts) for side, place in places.items()}
    for i, prompt in enumerate(prompts):
        shown.add_row(
            prompt, *("; ".join(map(", ".join, found[i].pieces)) for found in answers.values())
        )
    return shown


if __name__ == "__main__":
    command.run(main)
