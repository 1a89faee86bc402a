"""Embedding tables that a run starts from, checked before anything is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from bert_jax.config import BertConfig
from bert_jax.data.corpus import Corpus, is_corpus
from bert_jax.errors import UserError
from bert_jax.first_process import told_by_first
from bert_jax.parameters import Parameters
from bert_jax.pretrained_paths import find_ours
from bert_jax.settings import names_in
from bert_jax.tables.embedding_tables import PARTS, EmbeddingTables
from bert_jax.tables.starting import check_fits, with_tables
from bert_jax.tables.storage import load_tables
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.text.tokenizer_files import split_as


@dataclasses.dataclass(frozen=True)
class GivenTables:
    """The tables a run starts from.

    Attributes:
        tables: None where there are none, or the run has a checkpoint and goes on from that.
        parts: of token, segment and position, those that are taken.
        tokenizer: their vocabulary, where the run is to use it because it is given no other.
    """

    tables: EmbeddingTables | None
    parts: tuple[str, ...]
    tokenizer: Tokenizer | None

    def start(self, params: Parameters) -> Parameters:
        """Put the tables into drawn parameters."""
        return params if self.tables is None else with_tables(params, self.tables, self.parts)


def given_tables(
    init_embeddings: str | None,
    init_parts: str | Sequence[str] | None,
    *,
    workdir: Path,
    built: Corpus | None,
    vocab: str | None,
    lowercase: bool | None,
    splitting: str | None = None,
    config_of: Callable[[int | None], BertConfig],
) -> GivenTables:
    """Read the tables, and refuse those that do not belong to the run's vocabulary and model.

    Args:
        init_embeddings: whatever `load_tables` takes, or None.
        init_parts: of token, segment and position, those to take; None for all.
        workdir: of the run; where it has a checkpoint, the tables are not needed any more.
        built: the run's corpus, where it was built before.
        vocab: the path of a vocabulary; without it, and unless the corpus was built before, the
            run is given the vocabulary of the tables.
        lowercase: whether that is uncased; None where nobody said.
        splitting: how text is split; None where nobody said.
        config_of: the model's configuration for a size of the vocabulary; None where not known.

    Raises:
        UserError: something does not fit, or parts are asked of no tables.
    """
    parts = chosen_parts(init_parts) or PARTS
    if init_embeddings is None:
        if init_parts:
            raise UserError(
                f"got init_parts={','.join(parts)} alone; expected init_embeddings=PATH with it,"
                " the tables to take them from"
            )
        return GivenTables(None, parts, None)
    ours = "token" in parts and vocab is None and built is None
    made = workdir / "corpus"
    begun = told_by_first("checkpoint", lambda: find_ours(workdir) is not None)
    if begun and (is_corpus(made) or not ours):
        return GivenTables(None, parts, Corpus.open(made).tokenizer if ours else None)
    tables = load_tables(init_embeddings)
    if "token" not in parts:
        check_fits(tables, config_of(None), parts)
        return GivenTables(tables, parts, None)
    tokenizer = _own_vocabulary(tables, init_embeddings, lowercase, splitting) if ours else None
    if tokenizer is not None:
        used = tokenizer
    elif vocab is not None:
        used = Tokenizer.from_file(vocab, lowercase, splitting=splitting)
    else:
        assert built is not None  # or the vocabulary would be the tables' own
        used = built.tokenizer
    tables.check_vocabulary(used)
    check_fits(tables, config_of(used.vocab_size), parts)
    return GivenTables(tables, parts, tokenizer)


def _own_vocabulary(
    tables: EmbeddingTables, source: str, lowercase: bool | None, splitting: str | None
) -> Tokenizer:
    if tables.tokenizer is None:
        raise UserError(
            f"got init_embeddings={source}, tables without a vocabulary; expected ones that say"
            " which piece a row belongs to: experiments.edit_embeddings with `input_vocab` writes"
            " their vocab.txt into them"
        )
    if lowercase is not None and lowercase != tables.tokenizer.lowercase:
        raise UserError(
            f"got lowercase={lowercase}, but the vocabulary of {source} has"
            f" lowercase={tables.tokenizer.lowercase}; expected the same, or no `lowercase`"
        )
    return split_as(splitting, tables.tokenizer, source)


def chosen_parts(init_parts: str | Sequence[str] | None) -> tuple[str, ...]:
    """The parts that are named, in the order of `PARTS`.

    Raises:
        UserError: a name that is none of them.
    """
    names = names_in(init_parts)
    if not set(names) <= set(PARTS):
        raise UserError(
            f"got init_parts={','.join(names)}; expected some of {', '.join(PARTS)}, separated by"
            " commas"
        )
    return tuple(part for part in PARTS if part in names)
