"""What is looked at: tables, their model, their vocabulary, a corpus in it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from bert_jax.analysis.token_rows import TokenRows
from bert_jax.convert.pretrained import Pretrained, load_pretrained
from bert_jax.data.corpus import Corpus, is_corpus
from bert_jax.data.sources import open_source
from bert_jax.errors import UserError
from bert_jax.mirror import as_given
from bert_jax.model.embeddings import PUBLISHED, Parts
from bert_jax.pretrained_paths import checkpoint_at_hand, find_ours
from bert_jax.progress import ProgressBar
from bert_jax.tables.array_files import is_whole_model
from bert_jax.tables.embedding_tables import EmbeddingTables, parts_without_table
from bert_jax.tables.orbax_tables import is_orbax_tables
from bert_jax.tables.part_tables import tables_of
from bert_jax.tables.storage import load_tables
from bert_jax.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Text:
    """A corpus in the pieces of one vocabulary.

    Attributes:
        name: for people.
        documents: the pieces of each document, in an order drawn at random once.
        counts: [V] how often each piece occurs.
    """

    name: str
    documents: Sequence[np.ndarray]
    counts: np.ndarray


@dataclasses.dataclass(frozen=True)
class Inspected:
    """Tables and what goes with them.

    Attributes:
        checkpoint: what the user called it.
        tables: the three tables and their vocabulary.
        model: the checkpoint they are part of; None where there are tables alone.
        text: None where there is no corpus.
        run: the workdir of ours that the checkpoint comes from; None for others'.
        steps: the checkpoints of that run, oldest first, if the run was named and not a checkpoint.
        parts: how the model makes the parts of its input representation.
        without_table: those that are no lookup in a table; `tables` holds what they give.
    """

    checkpoint: str
    tables: EmbeddingTables
    model: Pretrained | None
    text: Text | None
    run: Path | None
    steps: tuple[tuple[int, Path], ...]
    parts: Parts = PUBLISHED
    without_table: tuple[str, ...] = ()

    @functools.cached_property
    def rows(self) -> TokenRows:
        """The token table with its pieces, and the centre of its cosines."""
        return TokenRows(self.tables)

    @property
    def token_table(self) -> np.ndarray:
        """[V, D]."""
        return self.tables.token

    @property
    def counts(self) -> np.ndarray | None:
        """[V], None without a corpus."""
        return None if self.text is None else self.text.counts

    def candidates(self, min_count: int) -> np.ndarray:
        """The ordinary rows that occur at least so often, where a corpus can tell."""
        ordinary = self.rows.ordinary
        return ordinary if self.counts is None else ordinary[self.counts[ordinary] >= min_count]

    @property
    def tokenizer(self) -> Tokenizer:
        """Its vocabulary.

        Raises:
            UserError: it has none.
        """
        if self.tables.tokenizer is None:
            raise UserError(
                f"got {self.checkpoint}, which has no vocabulary that can be read; expected one, or"
                " `vocab` with its vocab.txt"
            )
        return self.tables.tokenizer


def open_inspected(
    checkpoint: str | Path,
    vocab: str | None,
    corpus: Sequence[str],
    *,
    whole_model: bool,
    parts: Parts = PUBLISHED,
) -> Inspected:
    """Read a checkpoint, and the corpus that tells how often its pieces occur.

    Args:
        checkpoint: what `load_pretrained` takes, or tables alone, as `load_tables` takes them.
        vocab: a vocab.txt, for a checkpoint that has none or another.
        corpus: what `open_source` takes, or a folder made by `build_corpus`; nothing takes the
            corpus of the run where the checkpoint is of one.
        whole_model: whether the encoder is needed too; with a corpus it always is.
        parts: how the model makes the parts of its input representation.

    Raises:
        UserError: what is named is not there or does not fit.
    """
    path = checkpoint_at_hand(checkpoint)
    run, steps = run_of(checkpoint)
    corpus = corpus or own_corpus(run)
    model: Pretrained | None = None
    without: tuple[str, ...] = ()
    if _is_tables_alone(path):
        tables = load_tables(checkpoint)
    else:
        model = load_pretrained(checkpoint, embeddings_only=not (whole_model or corpus))
        tables = tables_of(model, parts)
        without = tuple(parts_without_table(model.params["bert"]["embeddings"]))
    if vocab is not None:
        tables = tables.replace(tokenizer=Tokenizer.from_file(vocab, like=tables.tokenizer))
    return Inspected(
        checkpoint=str(checkpoint),
        tables=tables,
        model=model,
        text=open_text(corpus, tables.tokenizer, len(tables.token)) if corpus else None,
        run=run,
        parts=parts,
        without_table=without,
        steps=steps,
    )


def _is_tables_alone(path: Path) -> bool:
    """Whether there is no model around the tables: a file of them, or a folder of our own."""
    if path.suffix == ".npz":
        return True
    if path.suffix == ".safetensors":
        return not is_whole_model(path)
    return path.is_dir() and is_orbax_tables(path) and find_ours(path) is None


def run_of(checkpoint: str | Path) -> tuple[Path | None, tuple[tuple[int, Path], ...]]:
    """The workdir of ours that a checkpoint comes from; None for others'.

    And where the run was named, and not one of its checkpoints, all of these, oldest first.
    """
    path = checkpoint_at_hand(checkpoint)
    ours = find_ours(path) if path.exists() else None
    if ours is None or ours.parent.name != "checkpoints":
        return None, ()
    run = ours.parent.parent
    return run, _steps(run) if ours != path else ()


def own_corpus(run: Path | None) -> Sequence[str]:
    """What a run was trained on, where it lies in its workdir: at most one name."""
    if run is None or not is_corpus(own := as_given(run / "corpus")):
        return ()
    return (own,)


def _steps(run: Path) -> tuple[tuple[int, Path], ...]:
    found = [p for p in (run / "checkpoints").iterdir() if p.name.isdecimal() and find_ours(p) == p]
    return tuple(sorted((int(p.name), p) for p in found))


def open_text(corpus: Sequence[str], tokenizer: Tokenizer | None, rows: int) -> Text:
    """Read a corpus in the pieces of a vocabulary that has at most so many rows.

    Raises:
        UserError: it is not there, or was made with another vocabulary.
    """
    if tokenizer is None:
        raise UserError(
            f"got corpus={','.join(corpus)} with a checkpoint that has no vocabulary; expected"
            " `vocab` with its vocab.txt"
        )
    if len(corpus) == 1 and is_corpus(corpus[0]):
        opened = Corpus.open(corpus[0])
        if opened.vocab_hash != tokenizer.vocab_hash:
            raise UserError(
                f"got corpus={corpus[0]}, which was made with a different vocabulary from the"
                " checkpoint's; expected the same, or plain text"
            )
        documents = list(_documents(opened))
    else:
        source = open_source(corpus)
        with ProgressBar("tokenising", source.total_bytes) as bar:
            documents = []
            for document in source:
                text = document.text if isinstance(document.text, str) else "\n".join(document.text)
                documents.append(tokenizer.piece_ids(text))
                bar.advance(document.source_bytes)
    counts = np.zeros(rows, np.int64)
    for pieces in documents:
        counts += np.bincount(pieces, minlength=rows)
    order = np.random.default_rng(0).permutation(len(documents))
    return Text(", ".join(corpus), [documents[i] for i in order], counts)


def _documents(corpus: Corpus) -> Iterator[np.ndarray]:
    train = corpus.train
    bounds = train.sentence_starts[train.document_starts]
    for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        yield train.pieces[start:end]
