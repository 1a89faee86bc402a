"""What pays at equal compute: the mask rate, what is hidden as one, next sentence prediction.

    python -m experiments.benchmarks.objectives [--corpus=FOLDER --seeds=0,1,2 --steps=600]

Each arm is a pretraining run of the same model on the same corpus that differs in one setting, with
every seed. All spend the same floating-point operations (`bert_jax.analysis.flops`): an arm that
predicts more tokens a row has a dearer step, so it gets fewer of them. The learning rate of each
falls to zero over its own steps.

Held-out losses of runs that mask differently are answers to different questions. So every model is
asked the same ones at the end: 15 % of the tokens hidden one by one, 80/10/10, on the same held-out
text, in rows of two kinds:

    plain   consecutive sentences of one document, segment 0
    pairs   two parts of a document, or of two, segments 0 and 1

Printed: mean over seeds, and the difference from the first arm, seed by seed, with its 95 %
interval (Student's t). What was trained stays in `--workdir`, and the same command goes on there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import flags
from rich.table import Table
from scipy import stats

from bert_jax.analysis.flops import RowShape, training_flops
from bert_jax.arguments import MOST_SEED
from bert_jax.cli import command
from bert_jax.config import PRESETS
from bert_jax.console import plain_console
from bert_jax.data.corpus import Corpus
from bert_jax.data.instances import plan_instances, plan_sentences
from bert_jax.data.loader import HeldoutBatches, RowSettings
from bert_jax.data.preparation import prepare_corpus
from bert_jax.model.bert import BertForMaskedLM
from bert_jax.parameters import split_model
from bert_jax.training.evaluation import Evaluation, evaluate
from bert_jax.training.objectives import MLM, OBJECTIVES
from bert_jax.training.pretraining import pretrain
from bert_jax.training.pretraining_settings import PretrainingSettings
from bert_jax.training.sharding import create_mesh
from bert_jax.training.steps import create_eval_step
from bert_jax.training.workdir import Workdir, own_workdir
from bert_jax.whole_file import write_json

ARMS: Mapping[str, Mapping[str, Any]] = {
    "as published": {},
    "mask 30 %": {"mask_rate": 0.3},
    "mask 40 %": {"mask_rate": 0.4},
    "mask 30 % to 15 %": {"mask_rate": "0.3:0.15"},
    "whole words": {"masking": "whole_word"},
    "spans": {"masking": "span"},
    "no NSP": {"objective": "mlm"},
    "no NSP, mask 30 %": {"objective": "mlm", "mask_rate": 0.3},
}

_CORPUS = flags.DEFINE_string("corpus", "python_docs", "Text to train on, as pretrain's --corpus.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Random seeds of the runs.")
_MODEL = flags.DEFINE_enum("model", "tiny", PRESETS, "Model size.")
_VOCAB_SIZE = flags.DEFINE_integer(
    "vocab_size", 8192, "Size of the learned vocabulary, in tokens.", 100
)
_STEPS = flags.DEFINE_integer(
    "steps", 600, "Optimiser steps of the first arm; the others get the same compute.", 1
)
_BATCH = flags.DEFINE_integer("batch_size", 32, "Batch size, in rows.", lower_bound=1)
_LENGTH = flags.DEFINE_integer("length", 128, "Tokens per row.", lower_bound=8)
_ARMS = flags.DEFINE_multi_enum(
    "arm", None, list(ARMS), "Run only this arm; may be repeated. By default all."
)
_WORKDIR = flags.DEFINE_string("workdir", "runs/objectives", "Folder for runs and result.json.")

ROWS = {"plain": plan_sentences, "pairs": plan_instances}


@dataclasses.dataclass(frozen=True)
class Trained:
    """One run: its steps, and what the model knows of each kind of rows."""

    steps: int
    answers: Mapping[str, Evaluation]


def main() -> None:
    """Train every arm with every seed, ask all the same questions, print."""
    with own_workdir(_WORKDIR.value or "") as place:
        compare_arms(place)


def compare_arms(place: Workdir) -> None:
    """Do so in a working directory of this process."""
    seeds = command.whole_numbers("seeds", _SEEDS.value or [], 0, MOST_SEED)
    corpus = prepare_corpus(
        [_CORPUS.value or ""], vocab_size=_VOCAB_SIZE.value or 0, workdir=place.folder
    )
    arms = {name: ARMS[name] for name in _ARMS.value or ARMS}
    trained = {
        name: [_train(corpus, place, name, seed, changes) for seed in seeds]
        for name, changes in arms.items()
    }
    record = {name: [dataclasses.asdict(run) for run in runs] for name, runs in trained.items()}
    write_json(place.folder / "result.json", {"seeds": seeds, "arms": record})
    plain_console().print(_table(trained))


def _train(
    corpus: Corpus, workdir: Workdir, name: str, seed: int, changes: Mapping[str, Any]
) -> Trained:
    settings = {
        "model": _MODEL.value, "batch_size": _BATCH.value, "phases": f"{_LENGTH.value}:1.0",
        "seed": seed, "eval_every": 0, "checkpoint_every": 0, "keep": 1, "pack": 1,
    }  # fmt: skip
    steps = equal_steps(_STEPS.value or 1, {**settings, **changes}, settings, corpus)
    place = workdir.folder / f"{name.replace(' ', '_').replace('%', 'percent')}_{seed}"
    result = pretrain(corpus.data_dir, place, steps=steps, **{**settings, **changes})
    workdir.publish()
    if result is None:
        raise SystemExit(143)
    return Trained(steps, {kind: ask(result.checkpoint, corpus, kind) for kind in ROWS})


def equal_steps(
    steps: int, settings: Mapping[str, Any], first: Mapping[str, Any], corpus: Corpus
) -> int:
    """How many steps of one arm take the operations of so many of the first."""

    def cost(values: Mapping[str, Any]) -> int:
        asked = PretrainingSettings(**values)
        length = asked.row_phases()[-1].length
        slots = asked.row_masking().predictions(length)
        instances = int("cls_positions" in OBJECTIVES[asked.objective].reads)
        config = asked.config(corpus.tokenizer.vocab_size)
        return training_flops(config, RowShape(length, slots, instances))

    return round(steps * cost(first) / cost(settings))


def ask(checkpoint: str, corpus: Corpus, kind: str) -> Evaluation:
    """Masked LM of a checkpoint at 15 % of the tokens, on rows of one kind."""
    definition, params = split_model(BertForMaskedLM.from_pretrained(checkpoint))
    batches = HeldoutBatches(
        corpus.heldout, corpus.tokenizer, length=_LENGTH.value or 128,
        settings=RowSettings(_BATCH.value or 32, plan=ROWS[kind]),
    )  # fmt: skip
    step = jax.jit(create_eval_step(definition, objective=MLM))
    return evaluate(step, params, batches, create_mesh({}), MLM)


def difference(these: Sequence[float], those: Sequence[float]) -> tuple[float, float]:
    """Mean of the differences, seed by seed, and half of its 95 % interval (Student's t)."""
    found = np.subtract(these, those)
    half = stats.t.ppf(0.975, len(found) - 1) * stats.sem(found) if len(found) > 1 else np.inf
    return float(found.mean()), float(half)


def _table(trained: Mapping[str, Sequence[Trained]]) -> Table:
    shown = Table(title="Held-out masked LM, nats, at equal compute", title_justify="left")
    for heading in (
        "arm",
        "steps",
        *(f"{kind}{what}" for kind in ROWS for what in ("", " - first")),
    ):
        shown.add_column(heading)
    first = next(iter(trained.values()))
    for name, runs in trained.items():
        cells = [name, f"{runs[0].steps:,}"]
        for kind in ROWS:
            losses, base = ([run.answers[kind].mlm_loss for run in r] for r in (runs, first))
            mean, half = difference(losses, base)
            cells += [
                f"{np.mean(losses):.3f}",
                "" if runs is first else f"{mean:+.3f} ± {half:.3f}",
            ]
        shown.add_row(*cells)
    return shown


if __name__ == "__main__":
    command.run(main)
