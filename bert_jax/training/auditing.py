"""Train a few steps and say what each of them did to the rows of the token table.

audit = audit_updates("runs/pretrain/corpus", checkpoint="runs/pretrain", steps=20)
audit.summary["changed_share"], audit.summary["in_batch_share"]
pandas.DataFrame(audit.ledger())  # a row a piece
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from bert_jax.arguments import path_like
from bert_jax.config import BertConfig
from bert_jax.convert.contents import Pretrained
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.data.corpus import Corpus
from bert_jax.data.loader import Batches, Phase, RowSettings
from bert_jax.errors import UserError
from bert_jax.parameters import Parameters, token_table
from bert_jax.training.assembly import assemble_pretrainer
from bert_jax.training.audit_log import AuditUpdates
from bert_jax.training.callbacks import Callback, LastMetrics, ShowProgress
from bert_jax.training.cpu_memory import keep_freed_memory
from bert_jax.training.loop import EventSchedule, train
from bert_jax.training.optimizers import create_optimizer, is_row_lazy
from bert_jax.training.schedules import warmup_polynomial
from bert_jax.training.sharding import create_mesh
from bert_jax.training.update_audit import (
    ABSENT_SEEN,
    ABSENT_UNSEEN,
    INPUT,
    LABEL_SEEN,
    LABEL_UNSEEN,
    Audit,
    audit_summary,
)


@dataclasses.dataclass(frozen=True)
class Causes:
    """Why rows changed that their batch did not hold as input: shares of all rows in all steps.

    Attributes:
        decoder: the softmax of a tied decoder has a gradient for every row.
        momentum: the row was in an earlier batch; weight decay, where there is any, adds to it.
        decay: it never was: its moments are zero.
    """

    decoder: float
    momentum: float
    decay: float

    @property
    def all(self) -> float:
        """The sum."""
        return self.decoder + self.momentum + self.decay


@dataclasses.dataclass(frozen=True)
class UpdateAudit:
    """What some steps did to the token table.

    Attributes:
        summary: `audit_summary`, a few numbers.
        rows: what is known of every row, in numpy arrays.
        drift: [V], how far each row has moved from where it began.
        pieces: [V], what the rows belong to.
        tied: whether the decoder shares the table.
        mlm_loss: of the last step, nats.
        params: after it, in numpy arrays.
    """

    summary: dict[str, Any]
    rows: Audit
    drift: np.ndarray
    pieces: tuple[str, ...]
    tied: bool
    mlm_loss: float
    params: Parameters

    def causes(self) -> Causes:
        """Why rows changed that were not input."""
        changed = np.asarray(self.rows.changed).sum(axis=1, dtype=np.int64)
        row_steps = self.summary["steps"] * self.summary["rows"]
        seen, unseen = (
            float(changed[list(which)].sum() / row_steps)
            for which in ((LABEL_SEEN, ABSENT_SEEN), (LABEL_UNSEEN, ABSENT_UNSEEN))
        )
        return Causes(seen + unseen, 0.0, 0.0) if self.tied else Causes(0.0, seen, unseen)

    def move_ratio(self) -> float:
        """How far a row that is not input moves in a step, to how far one that is does."""
        spent = np.asarray(self.rows.spent).sum(axis=1, dtype=np.int64)
        moved = np.asarray(self.rows.moved).sum(axis=1, dtype=np.float64)
        absent = [LABEL_SEEN, ABSENT_SEEN, LABEL_UNSEEN, ABSENT_UNSEEN]
        a_step = moved[absent].sum() / max(int(spent[absent].sum()), 1)
        return float(a_step / (moved[INPUT] / spent[INPUT]))

    def ledger(self) -> dict[str, Any]:
        """A row a piece, column by column, as `pandas.DataFrame` takes it.

        Columns: `piece`; steps `as_input`, `as_label` and `as_replacement`; steps in which it
        `changed`, and `changed_absent`, without being input; how far it `moved` in all of them and
        its `drift` from the start; `first_seen` and `first_changed`, steps from 1, or -1.
        """
        changed = self.rows.changed.sum(axis=0)
        return {
            "piece": list(self.pieces),
            "as_input": self.rows.spent[INPUT],
            "as_label": self.rows.as_label,
            "as_replacement": self.rows.as_replacement,
            "changed": changed,
            "changed_absent": changed - self.rows.changed[INPUT],
            "moved": self.rows.moved.sum(axis=0),
            "drift": self.drift,
            "first_seen": self.rows.first_seen,
            "first_changed": self.rows.first_changed,
        }


def audit_updates(
    corpus: Corpus | str | os.PathLike[str],
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    config: BertConfig | None = None,
    steps: int = 20,
    optimizer: str = "adamw",
    learning_rate: float = 2e-3,
    weight_decay: float = 0.01,
    batch_size: int = 16,
    length: int = 64,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    every: int = 10,
    callbacks: Sequence[Callback] | None = None,
) -> UpdateAudit:
    """Train some steps on one device and record what they do to every row of the token table.

    Args:
        corpus: an opened corpus or its folder, such as `WORKDIR/corpus` of a run.
        checkpoint: whose parameters to start from, with a fresh optimiser state;
            by default they are drawn.
        config: of a model to be drawn, whatever its `vocab_size`; by default tiny.
        steps: how many; the learning rate warms up over a tenth of them and falls to 0 at the last.
        optimizer: one of `OPTIMIZERS`.
        learning_rate: the peak learning rate.
        weight_decay: of matrices and tables.
        batch_size: rows of a batch.
        length: tokens of a row.
        seed: random seed of parameters, order of the data, masking and dropout.
        folder: an existing one, where `audit.jsonl` and `audit.npz` are written.
        every: steps between lines of the first.
        callbacks: told about the metrics of every step; by default a progress bar.

    Raises:
        UserError: corpus and checkpoint have different vocabularies, or rows do not fit.
    """
    if jax.default_backend() == "cpu":
        keep_freed_memory()
    if not isinstance(corpus, Corpus):
        corpus = Corpus.open(path_like("corpus", corpus, "a corpus, or its folder"))
    tokenizer = corpus.tokenizer
    pretrained = None if checkpoint is None else _pretrained(checkpoint, corpus)
    config = (pretrained.config if pretrained else config) or BertConfig.tiny()
    config = config.replace(vocab_size=tokenizer.vocab_size)
    batches = audit_batches(corpus, config, steps, batch_size, length, seed)
    rate = warmup_polynomial(learning_rate, steps, steps // 10)
    run = assemble_pretrainer(
        config,
        create_mesh({"data": 1}, jax.devices()[:1]),
        create_optimizer(optimizer, rate, weight_decay),
        rate,
        seed=seed,
        batch_size=batch_size,
        start=lambda drawn: pretrained.params if pretrained else drawn,
        row_lazy=is_row_lazy(optimizer) and not config.tie_word_embeddings,
        audit_mask_id=tokenizer.mask_id,
    )
    schedule, last = EventSchedule(steps, log_every=1), LastMetrics()
    told = [last, *([ShowProgress("auditing", steps, _note)] if callbacks is None else callbacks)]
    state = run.initial_state()
    initial = np.asarray(token_table(state.params)).copy()
    if folder is not None:
        told.append(AuditUpdates(run, initial, folder, schedule, every))
    state = train(
        state, run.train_step, batches, run.mesh, schedule,
        evaluate=lambda step, state: {}, save=lambda state, figures: None, callbacks=told,
    )  # fmt: skip
    rows, params = jax.device_get((state.opt_state.audit, state.params))
    table = token_table(params)
    return UpdateAudit(
        audit_summary(rows, table, initial),
        rows,
        np.linalg.norm(table - initial, axis=1),
        tuple(tokenizer.pieces),
        config.tie_word_embeddings,
        last.metrics["mlm_loss"],
        params,
    )


def audit_batches(
    corpus: Corpus, config: BertConfig, steps: int, batch_size: int, length: int, seed: int
) -> Batches:
    """The batches of an audit, planned.

    Raises:
        UserError: rows longer than the model's positions, or a corpus that cannot be planned.
    """
    positions = config.max_position_embeddings
    if length > positions:
        raise UserError(f"got length={length}; expected at most {positions}, the model's positions")
    batches = Batches(
        corpus.train, corpus.tokenizer, seed=seed, steps=steps, phases=[Phase(length, 1.0)],
        settings=RowSettings(batch_size),
    )  # fmt: skip
    batches.steps_per_epoch(0)
    return batches


def _pretrained(checkpoint: str | os.PathLike[str], corpus: Corpus) -> Pretrained:
    pretrained = load_pretrained(checkpoint)
    theirs = pretrained.tokenizer
    if theirs is None or theirs.vocab_hash != corpus.vocab_hash:
        raise UserError(
            f"got checkpoint={checkpoint}, whose vocabulary is not that of the corpus in"
            f" {corpus.data_dir}; expected the same"
        )
    if pretrained.architecture != "BertForPreTraining":
        raise UserError(
            f"got checkpoint={checkpoint}, a {pretrained.architecture}; expected a pretrained"
            " checkpoint with its heads"
        )
    return pretrained


def _note(metrics: Any) -> str:
    return f"mlm {metrics['mlm_loss']:.3f}"
