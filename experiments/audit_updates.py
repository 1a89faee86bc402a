r"""Does a step update "only the embeddings of tokens present in the batch, the rest unchanged"?

    python -m experiments.audit_updates --workdir=runs/audit

Trains one small model ten times, from the same start on the same batches, with a tied and an untied
decoder and by five optimisers: SGD, Adam, AdamW, LAMB and row-lazy AdamW. Of every step it is
recorded which rows of the token table changed, bit by bit, and which of them the batch held (see
`bert_jax.training.update_audit`). Prints a row a run:

    in batch         share of the rows that a batch holds as input; mean over the steps
    changed          share of the rows that a step changes
    absent, changed  share of the rows that a step changes though the batch does not hold them as
                     input, by the cause that remains:
      decoder          the softmax of a tied decoder has a gradient for every row
      momentum         the row was in an earlier batch; weight decay, where there is any, adds to it
      decay            it never was: its moments are zero
    move ratio       how far an absent row moves in a step, to how far one in the batch does
    unseen drift     distance from where they began of the rows no batch has held, to their norm
    seen, ever changed   share of all rows after the last step

and, since it is known which rows no batch held, a second table: how well they can be told from the
weights alone (`bert_jax.analysis.unlearned`: ROC-AUC against rows that at least eight steps looked
up; 50 % is chance, below it the wrong way round; `result.json` has it against all other rows, too).

Writes both to `result.json`, with `coverage.svg` (rows ever in a batch and ever changed, by
step) and `frequency.svg` (share of the steps that change a row, by its rank in the text). Each run
has a folder with `audit.jsonl` and `audit.npz`; a run that is finished is not repeated.

With a tied decoder row-lazy AdamW is AdamW: every row has a gradient. On 63 MB of books and the
like the ten runs took 10 min 31 s of one core; docs/updates_and_vocabulary.md has what came out.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from rich.table import Table

from bert_jax.analysis.token_rows import KINDS, kinds_of
from bert_jax.analysis.unlearned import INDICATORS, TokenWeights, detections
from bert_jax.arguments import MOST_SEED
from bert_jax.cli import command
from bert_jax.cli.compiled_programs import define_compilation_cache
from bert_jax.config import BertConfig
from bert_jax.console import plain_console
from bert_jax.data.corpus import Corpus
from bert_jax.data.preparation import prepare_corpus
from bert_jax.figures import Lines, draw_lines
from bert_jax.file_digests import read_vouching, write_vouching
from bert_jax.memory import check_sizes
from bert_jax.progress import ProgressBar
from bert_jax.training.auditing import UpdateAudit, audit_batches, audit_updates
from bert_jax.training.callbacks import Callback
from bert_jax.training.metrics import read_metrics
from bert_jax.training.update_audit import (
    INPUT,
)
from bert_jax.training.workdir import Workdir, check_contents, own_workdir, prepared_workdir
from bert_jax.whole_file import write_json, write_text

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", "runs/audit", "Folder for everything the experiment writes.")
flags.DEFINE_multi_string(
    "corpus", ["python_docs"], "Text to train on, as for experiments.pretrain."
)
flags.DEFINE_string("vocab", None, "A vocab.txt; by default a vocabulary is learned.")
flags.DEFINE_integer(
    "vocab_size", 16384, "Size of the learned vocabulary, in tokens.", lower_bound=1
)
flags.DEFINE_enum("model", "tiny", ["tiny", "mini", "small"], "Model size.")
flags.DEFINE_integer("steps", 150, "Length of each run, in optimiser steps.", lower_bound=1)
flags.DEFINE_integer("batch_size", 16, "Batch size, in rows.", lower_bound=1)
flags.DEFINE_integer("length", 64, "Tokens per row.", lower_bound=5)
flags.DEFINE_float(
    "weight_decay", 0.01, "Weight decay of AdamW, LAMB and row-lazy AdamW.", lower_bound=0.0
)
flags.DEFINE_integer("audit_every", 10, "Steps between points of the curves.", lower_bound=1)
flags.DEFINE_integer(
    "seed", 0, "Random seed: initial weights, order of the data, masking and dropout.", 0, MOST_SEED
)
define_compilation_cache()
_SETTINGS = (
    "corpus", "vocab", "vocab_size", "model", "steps", "batch_size", "length", "weight_decay",
    "audit_every", "seed",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Run:
    """One of the ten: an optimiser at a rate that suits it, and a decoder."""

    title: str
    optimizer: str
    rate: float
    decays: bool
    tied: bool

    @property
    def folder(self) -> str:
        """Where its files go."""
        return f"{self.title.lower().replace(' ', '_')}-{'tied' if self.tied else 'untied'}"


RUNS = tuple(
    Run(title, optimizer, rate, decays, tied)
    for tied in (False, True)
    for title, optimizer, rate, decays in (
        ("SGD", "sgd", 0.5, False),
        ("Adam", "adamw", 2e-3, False),
        ("AdamW", "adamw", 2e-3, True),
        ("LAMB", "lamb", 1e-2, True),
        ("row-lazy AdamW", "row_lazy_adamw", 2e-3, True),
    )
)


def main() -> None:
    """Do the runs that are not done yet, then compare all."""
    config = getattr(BertConfig, FLAGS.model)()
    check_sizes(config.replace(vocab_size=FLAGS.vocab_size), FLAGS.batch_size, FLAGS.length)
    with own_workdir(FLAGS.workdir) as place:
        compare_runs(config, place)


def compare_runs(config: BertConfig, place: Workdir) -> None:
    """Do so in a working directory of this process, which is sent after each run."""
    settings = {name: FLAGS[name].value for name in _SETTINGS}
    with prepared_workdir(place.folder, settings, ()) as workdir:
        corpus = prepare_corpus(
            FLAGS.corpus, vocab=FLAGS.vocab, vocab_size=FLAGS.vocab_size, workdir=workdir
        )
        check_contents(workdir, {"corpus": {"content": corpus.fingerprint}})
        # What does not fit is said now.
        audit_batches(corpus, config, FLAGS.steps, FLAGS.batch_size, FLAGS.length, FLAGS.seed)
    rows = []
    with ProgressBar("auditing", len(RUNS) * FLAGS.steps) as bar:
        for number, run in enumerate(RUNS):
            folder = workdir / run.folder
            result = folder / "result.json"
            if not result.exists():
                folder.mkdir(exist_ok=True)
                row = row_of(run, audit(run, corpus, folder, bar))
                write_vouching(result, row, ["audit.jsonl", "audit.npz"])
                place.publish()
            rows.append(read_vouching(result, f"remove {folder}, and its run is done again"))
            bar.update((number + 1) * FLAGS.steps, run.folder)
    write_json(
        workdir / "result.json",
        {"settings": settings, "corpus_fingerprint": corpus.fingerprint, "rows": rows},
    )
    write_text(workdir / "coverage.svg", coverage_plot(workdir))
    write_text(workdir / "frequency.svg", frequency_plot(workdir, corpus))
    print_rows(rows)
    print_guesses(rows)


class MoveBar(Callback):
    """Moves a bar on by one at every step."""

    def __init__(self, bar: ProgressBar):
        self._bar = bar

    def on_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Move it."""
        self._bar.advance(1)


def audit(run: Run, corpus: Corpus, folder: Path, bar: ProgressBar) -> UpdateAudit:
    """Train one of the ten and leave its audit in `folder`."""
    return audit_updates(
        corpus,
        config=getattr(BertConfig, FLAGS.model)(tie_word_embeddings=run.tied),
        steps=FLAGS.steps,
        optimizer=run.optimizer,
        learning_rate=run.rate,
        weight_decay=FLAGS.weight_decay if run.decays else 0.0,
        batch_size=FLAGS.batch_size,
        length=FLAGS.length,
        seed=FLAGS.seed,
        folder=folder,
        every=FLAGS.audit_every,
        callbacks=[MoveBar(bar)],
    )


def row_of(run: Run, audit: UpdateAudit) -> dict[str, Any]:
    """One row of the table."""
    figures, causes = audit.summary, audit.causes()
    drift = figures["unseen_drift"]
    return {
        "decoder": "tied" if run.tied else "untied",
        "optimizer": run.title,
        "in_batch": figures["in_batch_share"],
        "changed": figures["changed_share"],
        "absent_changed": causes.all,
        "by_decoder": causes.decoder,
        "by_momentum": causes.momentum,
        "by_decay": causes.decay,
        "move_ratio": audit.move_ratio(),
        "unseen_drift": None if drift is None else drift / figures["initial_norm"],
        "rows_seen": figures["rows_seen"] / figures["rows"],
        "rows_changed": figures["rows_changed"] / figures["rows"],
        "mlm_loss": audit.mlm_loss,
        "told_by": told_by(audit),
    }


def told_by(audit: UpdateAudit) -> dict[str, dict[str, float]]:
    """How well each indicator tells the rows that no batch held, by its name."""
    kinds, pad = kinds_of(audit.pieces), audit.pieces.index("[PAD]")
    unused = kinds == KINDS.index("unused")
    ordinary = np.flatnonzero(~unused & (kinds != KINDS.index("special")))
    weights = TokenWeights.of(audit.params, np.append(np.flatnonzero(unused), pad))
    found = detections(weights, np.asarray(audit.rows.spent)[INPUT], ordinary)
    return {name: dataclasses.asdict(one) for name, one in found.items()}


def coverage_plot(workdir: Path) -> str:
    """Rows ever in a batch, and ever changed, by step; of runs that agree, the first."""
    lines: dict[str, Any] = {}
    for run in RUNS:
        figures = read_metrics(workdir / run.folder / "audit.jsonl")
        if not lines:
            lines["ever in a batch"] = [(f["step"], f["rows_seen"] / f["rows"]) for f in figures]
        name = f"changed: {run.title}, {'tied' if run.tied else 'untied'}"
        lines[name] = [(f["step"], f["rows_changed"] / f["rows"]) for f in figures]
    distinct: dict[str, Any] = {}
    for name, line in lines.items():
        same = next((other for other, there in distinct.items() if there == line), None)
        if same is None:
            distinct[name] = line
    title = "Rows of the token table ever touched"
    return draw_lines(Lines(distinct, title, "step", "share of all rows"))


def frequency_plot(workdir: Path, corpus: Corpus) -> str:
    """Share of the steps that change a row (and that hold it), by the rank of its piece."""
    counts = np.bincount(corpus.train.pieces, minlength=corpus.tokenizer.vocab_size)
    order = np.argsort(-counts, kind="stable")
    edges = np.unique(np.geomspace(1, len(order) + 1, 40).astype(int))

    def by_rank(steps: np.ndarray) -> list[tuple[float, float]]:
        ranked = steps[order] / FLAGS.steps
        bins = zip(edges[:-1] - 1, edges[1:] - 1, strict=True)
        return [(float((low + high + 1) / 2), float(ranked[low:high].mean())) for low, high in bins]

    lines: dict[str, Any] = {}
    for run in RUNS[:5] + RUNS[7:8]:  # tied, they are all alike
        arrays = np.load(workdir / run.folder / "audit.npz", allow_pickle=False)
        if not lines:
            lines["in the batch"] = by_rank(arrays["spent"][INPUT])
        name = f"changed: {run.title}{', tied' if run.tied else ''}"
        lines[name] = by_rank(arrays["changed"].sum(axis=0))
    title = "Steps that change a row, by the rank of its piece"
    labels = ("rank in the training text", "share of the steps")
    return draw_lines(Lines(lines, title, *labels, log_x=True))


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    table = Table(title="What a step does to the token table", title_justify="left")
    names = [name for name in rows[0] if name != "told_by"]
    for name in names:
        table.add_column(name.replace("_", " "))
    for row in rows:
        table.add_row(*(_cell(name, row[name]) for name in names))
    plain_console(width=190).print(table)


def print_guesses(rows: list[dict[str, Any]]) -> None:
    """Print how well the rows that no batch held can be told; of finished runs that say it."""
    table = Table(title="Rows no batch held, told by the weights from those of 8 steps: ROC-AUC")
    table.title_justify = "left"
    for name in ("decoder", "optimizer", *(indicator.name for indicator in INDICATORS)):
        table.add_column(name)
    for row in rows:
        told = row.get("told_by", {})
        scores = (told.get(indicator.name, {}).get("of_taught") for indicator in INDICATORS)
        table.add_row(row["decoder"], row["optimizer"], *(_cell("", score) for score in scores))
    plain_console(width=190).print(table)


def _cell(name: str, value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or "-"
    if name in ("move_ratio", "mlm_loss"):
        return f"{value:.3g}"
    return f"{value:.2%}"


if __name__ == "__main__":
    command.run(main)
