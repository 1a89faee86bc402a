r"""How fast can a small BERT learn? Seconds to a held-out loss on a frozen problem, trick by trick.

    python -m experiments.benchmarks.speedrun --problem=FOLDER --corpus=FOLDER [--seeds=0,1,2]
    python -m experiments.benchmarks.speedrun … --recipe='as the reference'    # that one alone

`--problem` holds split.tsv (documents of the corpus by part), vocab.txt (8,192 pieces learned from
the training documents) and heldout_instances.npz (2,048 pairs with their masks: 36,540 places).
Runs read the training documents alone. A recipe is a set of `pretrain`'s settings.

The clock runs from the first batch to the first look after which the loss is at most `--target`
nats. Compiling and looking stop it, and are printed beside. Corpus and vocabulary are there before.
The same command with the same `--workdir` goes on with the runs that it lacks.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from rich.table import Table

from bert_jax.arguments import MOST_SEED
from bert_jax.cli import command
from bert_jax.cli.compiled_programs import define_compilation_cache
from bert_jax.config import BertConfig
from bert_jax.console import plain_console
from bert_jax.data.corpus import Corpus
from bert_jax.data.document import Document
from bert_jax.data.preparation import prepare_corpus
from bert_jax.data.row_layout import Batch
from bert_jax.data.sources import open_source
from bert_jax.errors import UserError
from bert_jax.training.assembly import assemble_pretrainer
from bert_jax.training.callbacks import Callback
from bert_jax.training.evaluation import evaluate
from bert_jax.training.objectives import OBJECTIVES
from bert_jax.training.optimizers import create_optimizer
from bert_jax.training.pretraining import pretrain
from bert_jax.training.pretraining_settings import PretrainingSettings
from bert_jax.training.sharding import create_mesh
from bert_jax.training.state import TrainState
from bert_jax.training.workdir import Workdir, own_workdir
from bert_jax.whole_file import write_json

_PROBLEM = flags.DEFINE_string("problem", None, "Folder of the frozen problem.")
_CORPUS = flags.DEFINE_string("corpus", None, "Folder its documents lie in.")
_WORKDIR = flags.DEFINE_string("workdir", "runs/speedrun", "Holds corpus, runs and result.json.")
_RECIPES = flags.DEFINE_multi_string("recipe", None, "Repeated: these alone; by default all.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Of the runs.")
_TARGET = flags.DEFINE_float("target", 6.16, "Held-out masked-LM loss to reach, nats.")
_EVERY = flags.DEFINE_integer("every", 100, "Steps between looks at the held-out loss.", 1)
define_compilation_cache()

_PARTS = ("split.tsv", "vocab.txt", "heldout_instances.npz")
_ROWS = 64  # of a batch that is looked at
_MINI = BertConfig.mini()

# A new recipe adds one trick to the recipe before it.
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "as the reference": {
        "model": _MINI, "steps": 600, "batch_size": 64, "phases": "128:1.0", "pack": 1,
        "learning_rate": 1e-3,
    },
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Run:
    """What one run took.

    Attributes:
        recipe, seed: which.
        steps, seconds, processor_seconds: until the loss was reached, or of the whole run.
        reached: whether it was.
        loss: the last one that was looked at, nats.
        compiling, looking: seconds while the clock stood.
        losses: (step, seconds, nats) of every look.
    """

    recipe: str
    seed: int
    steps: int
    seconds: float
    processor_seconds: float
    reached: bool
    loss: float
    compiling: float
    looking: float
    losses: Sequence[tuple[int, float, float]]


class Clock(Callback):
    """Looks at a loss now and then, and stands while it does and while programs are compiled.

    Args:
        loss_of: of parameters.
        due: whether to look after so many steps.
    """

    def __init__(self, loss_of: Callable[[Any], float], due: Callable[[int], bool]):
        self.looks: list[tuple[int, float, float, float]] = []
        self.looking = self.compiling = 0.0
        self._looking_processor = 0.0
        self._loss_of, self._due = loss_of, due

    def on_train_begin(self, step: int) -> None:
        """Start it."""
        jax.monitoring.register_event_duration_secs_listener(self._heard)
        self._began, self._began_processor = time.perf_counter(), time.process_time()

    def on_update(self, step: int, state: TrainState) -> None:
        """Look, where it is time."""
        if not self._due(step):
            return
        jax.block_until_ready(state.params)
        now, processor = time.perf_counter(), time.process_time()
        loss = self._loss_of(state.params)
        self.looks.append(
            (
                step,
                now - self._began - self.compiling - self.looking,
                processor - self._began_processor - self._looking_processor,
                loss,
            )
        )
        self.looking += time.perf_counter() - now
        self._looking_processor += time.process_time() - processor

    def on_train_end(self) -> None:
        """Nothing is timed any more."""
        jax.monitoring.unregister_event_duration_listener(self._heard)

    def _heard(self, event: str, duration_secs: float, **_: Any) -> None:
        if event.endswith(("/backend_compile_duration", "/jaxpr_to_mlir_module_duration")):
            self.compiling += duration_secs


def main() -> None:
    """Run every recipe with every seed, and print how long each took."""
    if _PROBLEM.value is None or _CORPUS.value is None:
        raise UserError(
            "got no --problem or no --corpus; expected both, as in"
            " --problem=../shared/data/speedrun --corpus=../shared/data/corpus"
        )
    for name in _PARTS:
        if not (Path(_PROBLEM.value) / name).is_file():
            raise UserError(
                f"got --problem={_PROBLEM.value}, which has no {name}; expected a folder with"
                f" {', '.join(_PARTS)}"
            )
    seeds = command.whole_numbers("seeds", _SEEDS.value or [], 0, MOST_SEED)
    recipes = _chosen(_RECIPES.value or list(RECIPES))
    with own_workdir(_WORKDIR.value or "") as place:
        heldout = frozen_batches(Path(_PROBLEM.value) / "heldout_instances.npz")
        corpus = training_corpus(Path(_PROBLEM.value), Path(_CORPUS.value), place)
        runs = [
            run_of(name, seed, recipes[name], corpus, heldout, place.folder)
            for name in recipes
            for seed in seeds
        ]
        result = {"target": _TARGET.value, "runs": [dataclasses.asdict(run) for run in runs]}
        write_json(place.folder / "result.json", result)
        place.publish()
    plain_console().print(table_of(runs, _TARGET.value or 0.0))


def _chosen(names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    for name in names:
        if name not in RECIPES:
            raise UserError(f"got --recipe={name}; expected one of: {', '.join(RECIPES)}")
    return {name: RECIPES[name] for name in names}


def training_corpus(problem: Path, folder: Path, place: Workdir) -> Corpus:
    """The training documents of the problem, cut into its pieces; built once.

    Raises:
        UserError: a document that is not there.
    """
    named = [line.split("\t") for line in (problem / "split.tsv").read_text().splitlines()]
    wanted = {name for part, name in named if part == "train"}
    source = open_source(sorted({os.fspath(folder / name.split("#")[0]) for name in wanted}))
    found = dataclasses.replace(
        source,
        shares=tuple(partial(_only, share, folder, wanted) for share in source.shares),
        identity=f"{source.identity} {len(wanted)}",
    )
    missing = wanted - {_name(document, folder) for document in found}
    if missing:
        raise UserError(
            f"got --corpus={folder} without {min(missing)} and {len(missing) - 1} others of"
            f" {problem / 'split.tsv'}; expected all"
        )
    return prepare_corpus(
        found, vocab=os.fspath(problem / "vocab.txt"), vocab_size=0, workdir=place.folder
    )


def _only(
    share: Callable[[], Iterator[Document]], folder: Path, wanted: set[str]
) -> Iterator[Document]:
    return (document for document in share() if _name(document, folder) in wanted)


def _name(document: Document, folder: Path) -> str:
    """As split.tsv has it: `foldoc.docs.txt:3`, a document a line, is `foldoc.docs.txt#2` there."""
    path, _, line = os.path.relpath(document.name, folder).rpartition(":")
    return f"{path}#{int(line) - 1}" if path else line


def frozen_batches(path: Path) -> list[Batch]:
    """The held-out pairs with their masks, as batches of a pretraining run."""
    with np.load(path, allow_pickle=False) as arrays:
        frozen = {name: arrays[name].astype(np.int32) for name in arrays.files}
    rows, length = frozen["masked"].shape
    places = np.broadcast_to(np.arange(length, dtype=np.int32), (rows, length))
    real = places < frozen["length"][:, None]
    scored = frozen["labels"] >= 0
    slots = int(scored.sum(axis=1).max())
    order = np.argsort(~scored, axis=1, kind="stable")[:, :slots].astype(np.int32)
    weights = np.take_along_axis(scored, order, axis=1)
    batch: Batch = {
        "input_ids": frozen["masked"],
        "token_type_ids": np.where(real & (places >= frozen["len_a"][:, None]), 1, 0),
        "position_ids": np.where(real, places, 0),
        "instance_ids": real.astype(np.int32),
        "masked_positions": np.where(weights, order, 0),
        "masked_labels": np.where(weights, np.take_along_axis(frozen["labels"], order, axis=1), 0),
        "masked_weights": weights.astype(np.float32),
        "cls_positions": np.zeros((rows, 1), np.int32),
        "next_labels": frozen["is_random"][:, None],
        "next_weights": np.ones((rows, 1), np.float32),
    }
    return [
        {name: array[start : start + _ROWS] for name, array in batch.items()}
        for start in range(0, rows, _ROWS)
    ]


def loss_on(batches: Sequence[Batch], settings: PretrainingSettings, vocab_size: int) -> Any:
    """A function from the parameters of a run to its loss, compiled already."""
    objective = OBJECTIVES[settings.objective]
    run = assemble_pretrainer(
        settings.config(vocab_size), create_mesh({}), create_optimizer("sgd", settings.rate()),
        settings.rate(), seed=0, batch_size=_ROWS, objective=objective,
    )  # fmt: skip

    def loss(params: Any, among: Sequence[Batch] = batches) -> float:
        return evaluate(run.eval_step, params, among, run.mesh, objective).mlm_loss

    loss(run.initial_state().params, batches[:1])
    return loss


def run_of(
    recipe: str,
    seed: int,
    changes: Mapping[str, Any],
    corpus: Corpus,
    heldout: Sequence[Batch],
    folder: Path,
) -> Run:
    """Train once, or take what a run before has written down."""
    workdir = folder / f"{recipe.replace(' ', '_').replace(',', '')}_{seed}"
    kept = workdir / "speedrun.json"
    if kept.exists():
        return Run(**json.loads(kept.read_text()))
    asked = {**changes, "seed": seed, "eval_every": 0, "eval_batches": 1, "checkpoint_every": 0}
    settings = PretrainingSettings(**asked)
    clock = Clock(
        loss_on(heldout, settings, corpus.tokenizer.vocab_size),
        lambda step: step % (_EVERY.value or 1) == 0 or step == settings.steps,
    )
    if pretrain(corpus.data_dir, workdir, callbacks=[clock], **asked) is None:
        raise SystemExit(143)
    run = outcome(recipe, seed, clock, _TARGET.value or 0.0)
    write_json(kept, dataclasses.asdict(run))
    return run


def outcome(recipe: str, seed: int, clock: Clock, target: float) -> Run:
    """What a clock has seen."""
    reached = [look for look in clock.looks if look[-1] <= target]
    steps, seconds, processor, _ = (reached or clock.looks[-1:])[0]
    return Run(
        recipe, seed, steps, seconds, processor, bool(reached), clock.looks[-1][-1],
        clock.compiling, clock.looking,
        [(step, at, loss) for step, at, _, loss in clock.looks],
    )  # fmt: skip


def table_of(runs: Sequence[Run], target: float) -> Table:
    """A row a recipe: medians over seeds, and their least and most."""
    shown = Table(title=f"Seconds to {target} nats", title_justify="left")
    for heading in (
        "recipe",
        "reached",
        "steps",
        "seconds",
        "of processors",
        "last loss",
        "compiling",
    ):
        shown.add_column(heading, justify="left" if heading == "recipe" else "right")
    for recipe in dict.fromkeys(run.recipe for run in runs):
        of = [run for run in runs if run.recipe == recipe]
        shown.add_row(
            recipe,
            f"{sum(run.reached for run in of)} of {len(of)}",
            f"{statistics.median(run.steps for run in of):,.0f}",
            _spread([run.seconds for run in of], "{:.0f}"),
            f"{statistics.median(run.processor_seconds for run in of):,.0f}",
            _spread([run.loss for run in of], "{:.3f}"),
            f"{statistics.median(run.compiling for run in of):.0f}",
        )
    return shown


def _spread(values: Sequence[float], form: str) -> str:
    middle, least, most = (
        form.format(value) for value in (statistics.median(values), min(values), max(values))
    )
    return middle if least == most else f"{middle} ({least} to {most})"


if __name__ == "__main__":
    command.run(main)
