"""The rows of a token table and what they stand for; and from where their cosines are seen.

One pair of rows has one cosine, wherever it is printed: that of their directions from the mean of
the ordinary rows, which are those of all pieces but the special and the unused ones. Rows of one
table share a common part, larger than what tells them apart in a table trained for a short time;
taking it off needs nothing but the tables. (On all-MiniLM-L6-v2, trained long, people's scores
cannot tell this centre from none: ρ 0.745 against 0.742 on WordSim-353, 0.464 against 0.467 on
SimLex-999, with intervals ten times as wide as the difference.)
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from bert_jax.analysis.nearest import RowIndex, mean_row
from bert_jax.arguments import expect
from bert_jax.errors import UserError
from bert_jax.tables.embedding_tables import EmbeddingTables
from bert_jax.text.tokenizer import SPECIAL_PIECES, Tokenizer

COSINE = "cosine about the mean of all rows but special and unused ones"  # as a heading says it
KINDS = ("word", "continuation", "number", "single character", "other", "special", "unused")


@dataclasses.dataclass(frozen=True, eq=False)
class TokenRows:
    """A token table, the piece that each row stands for, and the centre of its cosines.

    Attributes:
        tables: whose token table it is, [V, D].
    """

    tables: EmbeddingTables

    def __post_init__(self) -> None:
        wanted = "embedding tables, as load_tables gives them"
        expect("tables", self.tables, EmbeddingTables, wanted)

    @property
    def table(self) -> np.ndarray:
        """[V, D]."""
        return self.tables.token

    @property
    def tokenizer(self) -> Tokenizer:
        """The vocabulary.

        Raises:
            UserError: the tables have none.
        """
        if self.tables.tokenizer is None:
            raise UserError(
                "got embedding tables without a vocabulary; expected tables that say which piece a"
                " row belongs to: tables.replace(tokenizer=Tokenizer.from_file(…))"
            )
        return self.tables.tokenizer

    @functools.cached_property
    def pieces(self) -> tuple[str, ...]:
        """V strings; `[row 7]` for a row that no piece belongs to."""
        named = () if self.tables.tokenizer is None else self.tables.tokenizer.pieces
        return (*named, *(f"[row {row}]" for row in range(len(named), len(self.table))))

    @functools.cached_property
    def kinds(self) -> np.ndarray:
        """[V] numbers into `KINDS`; a row that no piece of the vocabulary belongs to is unused."""
        named = self.tables.tokenizer.vocab_size if self.tables.tokenizer else len(self.table)
        kinds = kinds_of(self.pieces)
        kinds[named:] = KINDS.index("unused")
        return kinds

    @functools.cached_property
    def ordinary(self) -> np.ndarray:
        """Row numbers of all pieces but the special and the unused ones."""
        apart = [KINDS.index("special"), KINDS.index("unused")]
        rows = np.flatnonzero(~np.isin(self.kinds, apart))
        return rows if len(rows) > 1 else np.arange(len(self.table))

    @functools.cached_property
    def centre(self) -> np.ndarray:
        """[D], the mean of the ordinary rows."""
        return mean_row(self.table[self.ordinary])

    @functools.cached_property
    def index(self) -> RowIndex:
        """The ordinary rows, prepared for questions about their neighbours."""
        return RowIndex(self.table, self.ordinary, self.centre)

    def words(self, counts: np.ndarray | None = None, least: int = 0) -> np.ndarray:
        """Rows of whole words of three letters or more, the most frequent first.

        Args:
            counts: [V], how often each piece occurs; None takes the order of the vocabulary, in
                which a published one has them by frequency.
            least: how often a word must occur.
        """
        whole = [i for i in self.ordinary if len(p := self.pieces[i]) > 2 and p.isalpha()]
        rows = np.array(whole, np.int64)
        if counts is None:
            return rows
        rows = rows[counts[rows] >= least]
        return rows[np.argsort(-counts[rows], kind="stable")]


def examples(ranked: np.ndarray) -> np.ndarray:
    """Six of some rows from the 50th to the 500th: common words, but no mere grammar."""
    last = len(ranked) - 1
    return ranked[sorted({min(rank, last) for rank in (50, 100, 170, 260, 370, 500)} - {-1})]


def kinds_of(pieces: Sequence[str]) -> np.ndarray:
    """Return [V] numbers into `KINDS`: what kind of piece each is.

    Examples: "cat" is a word, "##s" a continuation, "1984" a number, "é" and "!" are single
    characters, "[CLS]" is special, "[unused7]" unused, "c++" other.
    """
    return np.array([KINDS.index(_kind(piece)) for piece in pieces], np.int64)


def _kind(piece: str) -> str:
    if piece in SPECIAL_PIECES:
        return "special"
    if piece.startswith("[unused") and piece.endswith("]"):
        return "unused"
    if piece.startswith("##") and len(piece) > 2:
        return "continuation"
    if len(piece) == 1:
        return "single character"
    if piece.isdecimal():
        return "number"
    return "word" if piece.isalpha() else "other"
