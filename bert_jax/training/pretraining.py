"""A pretraining run: text in, a model out; killed and called again, it goes on where it was.

    result = pretrain("books/*.txt", "runs/books", model="base", steps=100_000)

Text becomes a WordPiece vocabulary, then a tokenised corpus, then batches that are a pure function
of (corpus, seed, step). The same call with the same workdir continues where it stopped, bit for
bit, whenever and however it was killed. In the workdir:

    config.json     what was asked for         metrics.jsonl   a line per logged step
    vocab.txt       the vocabulary             heldout.jsonl   a line per evaluation
    corpus/         tokenised documents        tensorboard/    the same, for TensorBoard
    checkpoints/    newest and best            result.json     what came out

With `init_checkpoint`, also `start.json`, what the run began with, and, where the model is moved to
another vocabulary, `vocabulary_move.json`: what became of every piece (`given_model.py`). With
`audit_every`, also `audit.jsonl` and `audit.npz`: which rows of the token table the steps changed,
and which of them their batches held (`update_audit.py`); `audit_start.npy` is the table before.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from bert_jax.arguments import expect
from bert_jax.checkpoint_files import load_json
from bert_jax.checkpoints import Checkpoints, damaged_checkpoints, set_aside
from bert_jax.config import BertConfig
from bert_jax.data.corpus import Corpus
from bert_jax.data.loader import Batches, HeldoutBatches
from bert_jax.data.preparation import LEARNED, built_corpus, prepare_corpus
from bert_jax.data.sources import Source, texts_in_memory
from bert_jax.errors import UserError
from bert_jax.file_digests import write_sealed
from bert_jax.first_process import done_by_first, first_before_others, is_first
from bert_jax.kernels.compute import Compute, default_products, scans_layers
from bert_jax.kernels.rematerialisation import rematerialisation
from bert_jax.memory import check_sizes, check_workers, peak_rss_bytes
from bert_jax.model.embeddings import PUBLISHED, Parts
from bert_jax.parameters import Parameters
from bert_jax.pretrained_paths import checkpoint_at_hand
from bert_jax.settings import settings_of
from bert_jax.statistics import unigram_entropy
from bert_jax.text.vocabulary_record import vocabulary_record
from bert_jax.training.assembly import Pretrainer, assemble_pretrainer, check_assembly
from bert_jax.training.attention_choice import with_attention
from bert_jax.training.callbacks import Callback, check_callbacks
from bert_jax.training.cpu_memory import keep_freed_memory
from bert_jax.training.freezing import Frozen
from bert_jax.training.given_model import given_model
from bert_jax.training.given_tables import given_tables
from bert_jax.training.lengthening import check_branch, take_length
from bert_jax.training.objectives import OBJECTIVES
from bert_jax.training.optimizers import create_optimizer, is_row_lazy
from bert_jax.training.pretraining_loop import train_to_the_end
from bert_jax.training.pretraining_settings import (
    LENGTH,
    MAY_CHANGE,
    MODEL,
    VOCAB_SIZE,
    PretrainingSettings,
)
from bert_jax.training.processes import fail_together, host_rows
from bert_jax.training.sharding import create_mesh, parse_mesh
from bert_jax.training.workdir import Workdir, own_workdir, prepared_workdir

Text = str | os.PathLike[str] | Source | Iterable[str]


@dataclasses.dataclass(frozen=True)
class PretrainingResult:
    """What came out of a run; all but the corpus is in its `result.json`.

    Attributes:
        steps: updates applied.
        resumed_from: the step this call continued from; None if it started the run.
        tokens_per_second: median of the logged steps; None where there were none.
        objective: what the model was trained for.
        initialised_from: what was taken from the model the run started from: its `checkpoint`,
            the parts `taken`, `drawn` and `left_out`, and, where it was moved to another
            `vocabulary`, how many pieces were copied, composed, not spelled and dropped. None, and
            not in `result.json`, where the run started from none, as the next two.
        heldout_start_mlm_loss, heldout_start_nsp_accuracy: of that model, before the first step.
        heldout_mlm_loss, …: of the last step (`Evaluation`); those of next sentence prediction are
            None, and not in `result.json`, where it was no objective.
        checkpoint: path of the last one.
        seconds: this call took.
        peak_rss_bytes: the most memory this process has held; 0 where the system does not say.
        parameters: numbers in the model.
        heldout_unigram_entropy: nats, the least loss of a model that ignores the context.
        corpus_fingerprint, vocabulary_hash: of what it was trained on.
        corpus: the same, opened.
    """

    steps: int
    resumed_from: int | None
    tokens_per_second: float | None
    objective: str
    initialised_from: dict[str, Any] | None
    heldout_start_mlm_loss: float | None
    heldout_start_nsp_accuracy: float | None
    heldout_mlm_loss: float
    heldout_mlm_accuracy: float
    heldout_masked_tokens: int
    heldout_nsp_loss: float | None
    heldout_nsp_accuracy: float | None
    heldout_nsp_interval: tuple[float, float] | None
    heldout_pairs: int | None
    checkpoint: str
    seconds: float
    peak_rss_bytes: int
    parameters: int
    heldout_unigram_entropy: float
    corpus_fingerprint: str
    vocabulary_hash: str
    corpus: Corpus = dataclasses.field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """All but the corpus, by name."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del values["corpus"]
        return {
            name: value
            for name, value in values.items()
            if value is not None or not name.startswith(("heldout_", "initialised_"))
        }


def pretrain(
    corpus: Text,
    workdir: str | os.PathLike[str],
    *,
    callbacks: Sequence[Callback] = (),
    parts: Parts = PUBLISHED,
    **settings: Any,
) -> PretrainingResult | None:
    """Pretrain a BERT, masked LM and next sentence prediction; or continue an existing run.

        class PrintLoss(Callback):
            def on_evaluate(self, step, metrics):
                print(step, metrics["heldout_mlm_loss"])

        result = pretrain(texts, "runs/mine", steps=200, callbacks=[PrintLoss()])
        bert = Bert.from_pretrained(result.checkpoint)

    Args:
        corpus: one name: a file, a folder, a glob, "python_docs", "tfds:NAME", or a folder made by
            `build_corpus`; what `open_source` gives for several; or documents in memory, a
            list with one string each.
        workdir: holds everything the run makes.
        callbacks: told about the run's metrics, besides the files and the progress bar.
        parts: how the three parts of the input representation are made.
        settings: fields of `PretrainingSettings`, which has the defaults.

    Returns:
        What came out; None if told to stop (SIGTERM), after saving.

    Raises:
        UserError: something asked for is not possible; a new workdir then leaves no trace.
        NotFiniteError: loss or gradient is NaN or infinite; the last good checkpoint stays.
    """
    asked = settings_of(PretrainingSettings, settings)
    check_callbacks(callbacks)
    with fail_together(), own_workdir(workdir) as place:
        return _pretrain(_inputs(corpus), place, asked, callbacks, parts)


def _inputs(corpus: Text) -> Source | Sequence[str]:
    if isinstance(corpus, Source):
        return corpus
    if isinstance(corpus, str | os.PathLike):
        return [os.fspath(corpus)]
    wanted = "the name of files or a data set, what open_source gives, or a list of texts"
    return texts_in_memory(list(expect("corpus", corpus, Iterable, wanted)))


def _pretrain(
    inputs: Source | Sequence[str],
    place: Workdir,
    settings: PretrainingSettings,
    callbacks: Sequence[Callback],
    parts: Parts,
) -> PretrainingResult | None:
    began = time.perf_counter()
    if jax.default_backend() == "cpu":
        keep_freed_memory()
    if settings.audit_every and jax.process_count() > 1:
        raise UserError(
            f"got audit_every={settings.audit_every} in a run of {jax.process_count()} processes;"
            " expected one, which sees the whole token table"
        )
    workdir = place.folder
    mesh = create_mesh(parse_mesh(settings.mesh))
    names = list(inputs.names if isinstance(inputs, Source) else inputs)
    record = {"corpus": names, **settings.record()}
    if parts != PUBLISHED:
        record["parts"] = parts.replaced()
    if settings.branch_from:
        branch = checkpoint_at_hand(settings.branch_from)
        done_by_first(
            "checkpoint to branch off", lambda: check_branch(branch, settings, record, workdir)
        )
    built = built_corpus(inputs)
    if built is not None and settings.init_checkpoint is None:
        _check_built(built, settings)
    model = given_model(settings, parts, workdir, built)
    given = given_tables(
        settings.init_embeddings,
        settings.init_parts,
        workdir=workdir,
        built=built,
        vocab=settings.vocab,
        lowercase=settings.lowercase,
        splitting=settings.splitting,
        config_of=settings.config,
    )
    sizes = settings.config() if model is None else model.config
    check_workers(settings.loader_workers, "loader_workers")
    longest = max(phase.length for phase in settings.row_phases())
    check_sizes(sizes, settings.batch_size // jax.process_count(), longest)
    _compute(settings, sizes, mesh)
    check_assembly(
        sizes,
        mesh,
        batch_size=settings.batch_size,
        accumulate=settings.accumulate,
        frozen=Frozen.named(settings.freeze).paths(sizes),
        row_lazy=is_row_lazy(settings.optimizer),
    )
    own = given.tokenizer if model is None else model.vocabulary
    with (
        first_before_others("prepared corpus") as prepared,
        _refreshed(place),
        prepared_workdir(
            workdir,
            record,
            MAY_CHANGE | LENGTH | settings.unused,
            keep=() if own else LEARNED,
            unwritten=PretrainingSettings().record(),
        ),
    ):
        corpus = prepare_corpus(
            inputs,
            vocab=settings.vocab,
            vocab_size=settings.vocab_size or VOCAB_SIZE,
            lowercase=settings.lowercase,
            splitting=settings.splitting,
            heldout_fraction=settings.heldout_fraction,
            workdir=workdir,
            tokenizer=own,
            words=None if model is None else model.words(settings.lowercase),
        )
        starting = None if model is None else model.with_vocabulary(corpus.tokenizer, corpus.train)
        config = starting.config if starting else settings.config(corpus.tokenizer.vocab_size)
        start = starting.start if starting else given.start
        run = _pretrainer(settings, config, mesh, corpus, start, parts)
        batches, heldout = _batches(settings, corpus, mesh)
        if starting is not None and is_first():
            starting.write_move(workdir)
        if is_first():
            place.publish()
        prepared()
        done_by_first(
            "whole checkpoint", lambda: set_aside(damaged_checkpoints(workdir / "checkpoints"))
        )
        checkpoints = Checkpoints(
            workdir / "checkpoints",
            keep=settings.keep,
            config=config.to_dict(),
            vocabulary={
                "corpus_fingerprint": corpus.fingerprint,
                **vocabulary_record(corpus.tokenizer),
            },
            publish=place.publish if place.url else None,
        )
        done = checkpoints.latest_step()
        before = settings.branch_from if done is None else checkpoints.path(done)
        if before is not None:
            done_by_first(
                "checkpoint of the same run",
                lambda: _check_continues(
                    checkpoint_at_hand(before), config, corpus, settings, names
                ),
            )
        done_by_first("length of the run", lambda: take_length(workdir, settings, done or 0))
    trained = train_to_the_end(
        settings, run, checkpoints, batches, heldout, place, callbacks, starting
    )
    if trained is None:
        return None
    result = PretrainingResult(
        **trained,
        seconds=time.perf_counter() - began,
        peak_rss_bytes=peak_rss_bytes(),
        parameters=sum(leaf.size for leaf in jax.tree.leaves(run.saved_state.params)),
        heldout_unigram_entropy=unigram_entropy(corpus.heldout.pieces),
        corpus_fingerprint=corpus.fingerprint,
        vocabulary_hash=corpus.vocab_hash,
        corpus=corpus,
    )
    if is_first():
        write_sealed(workdir / "result.json", result.to_dict())
    return result


@contextmanager
def _refreshed(place: Workdir) -> Iterator[None]:
    """What process 0 has prepared and sent lies on this machine, too."""
    place.refresh()
    yield


def _pretrainer(
    settings: PretrainingSettings,
    config: BertConfig,
    mesh: Mesh,
    corpus: Corpus,
    start: Callable[[Parameters], Parameters],
    parts: Parts,
) -> Pretrainer:
    rate = settings.rate()
    return assemble_pretrainer(
        config,
        mesh,
        create_optimizer(settings.optimizer, rate, settings.weight_decay, settings.clip_norm),
        rate,
        seed=settings.seed,
        batch_size=settings.batch_size,
        objective=OBJECTIVES[settings.objective],
        compute=_compute(settings, config, mesh),
        parts=parts,
        accumulate=settings.accumulate,
        frozen=Frozen.named(settings.freeze).paths(config),
        start=start,
        row_lazy=is_row_lazy(settings.optimizer),
        audit_mask_id=corpus.tokenizer.mask_id if settings.audit_every else None,
    )


def _compute(settings: PretrainingSettings, config: BertConfig, mesh: Mesh) -> Compute:
    backend, scan = jax.default_backend(), settings.scan_layers
    return Compute(
        dtype=settings.dtype,
        scan_layers=scans_layers(backend) if scan is None else scan,
        rematerialise=rematerialisation(settings.remat),
        products=with_attention(default_products(), settings.attention, config, mesh, backend),
    )


def _batches(
    settings: PretrainingSettings, corpus: Corpus, mesh: Mesh
) -> tuple[Batches, HeldoutBatches]:
    phases, rows = settings.row_phases(), settings.rows()
    mine = host_rows(settings.batch_size, mesh)
    batches = Batches(
        corpus.train, corpus.tokenizer, seed=settings.seed, steps=settings.steps, phases=phases,
        settings=rows, host_rows=mine,
    )  # fmt: skip
    batches.steps_per_epoch(0)  # plans: a corpus that cannot be planned is said now
    heldout = HeldoutBatches(
        corpus.heldout, corpus.tokenizer, length=phases[-1].length, settings=rows,
        max_batches=settings.eval_batches, host_rows=mine,
    )  # fmt: skip
    return batches, heldout


def _check_built(corpus: Corpus, settings: PretrainingSettings) -> None:
    """Refuse casing that is not the corpus's; say of a size of vocabulary that it is not used."""
    own = corpus.tokenizer
    if settings.lowercase not in (None, own.lowercase):
        raise UserError(
            f"got lowercase={settings.lowercase}, but the corpus in {corpus.data_dir} was made with"
            f" lowercase={own.lowercase}; expected the same, or no `lowercase` at all"
        )
    if settings.vocab_size not in (None, own.vocab_size) and is_first():
        print(
            f"note: vocab_size={settings.vocab_size} is not used: the corpus in {corpus.data_dir}"
            f" has a vocabulary, of {own.vocab_size:,} pieces",
            file=sys.stderr,
        )


def _check_continues(
    path: Path,
    config: BertConfig,
    corpus: Corpus,
    settings: PretrainingSettings,
    names: Sequence[str],
) -> None:
    """Refuse to go on with another model or corpus than the checkpoint's: the settings name only
    files, and files change.
    """
    if load_json(path, "config") != config.to_dict():
        raise UserError(
            f"got model={settings.model or MODEL}, whose sizes differ from those in {path};"
            " expected the same model, or another `workdir`"
        )
    if load_json(path, "vocabulary").get("corpus_fingerprint") != corpus.fingerprint:
        raise UserError(
            f"got corpus={','.join(names)}, whose content has changed since it was written to"
            f" {path}; expected"
            " the same corpus, or another `workdir`"
        )
