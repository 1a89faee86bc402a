"""Words and their vectors: a piece's row, or the mean of the rows of a word of several pieces.

    neighbours(tables, ["method", "gradient"])      whose rows lie next to them
    word_similarity(tables, "WS-353.txt")           do cosines agree with people?
    solve_analogies, find_outlier                   a is to b as c is to …; which one is odd

Cosines are those that `token_rows.py` defines.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax.analysis.nearest import Neighbours, RowIndex, directions, mean_row, nearest_to
from bert_jax.analysis.similarity import Agreement, ScoredPairs, agreement, read_scored_pairs
from bert_jax.analysis.token_rows import TokenRows
from bert_jax.arguments import expect, strings, whole_number
from bert_jax.errors import UserError
from bert_jax.mirror import at_hand
from bert_jax.tables.embedding_tables import EmbeddingTables
from bert_jax.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Words:
    """Words and how the vocabulary writes them.

    Attributes:
        words: W words as they were given.
        pieces: for each the ids of its pieces, int64 [n]; empty where the vocabulary cannot write
            it (no text, or an [UNK] among its pieces).
    """

    words: tuple[str, ...]
    pieces: tuple[np.ndarray, ...]

    @property
    def known(self) -> np.ndarray:
        """Bool [W]: whether the vocabulary can write the word."""
        return np.array([len(pieces) > 0 for pieces in self.pieces], bool)

    @property
    def single(self) -> np.ndarray:
        """Int [W]: the row of a word that is one piece, else -1."""
        return np.array([p[0] if len(p) == 1 else -1 for p in self.pieces], np.int64)

    def vectors(self, table: np.ndarray) -> np.ndarray:
        """Return [W, D], the mean of each word's rows of `table` [V, D]; NaN where not known."""
        rows = np.full((len(self.words), table.shape[1]), np.nan, np.float32)
        for number, pieces in enumerate(self.pieces):
            if len(pieces):
                rows[number] = table[pieces].mean(axis=0)
        return rows

    def seen(self, counts: np.ndarray) -> np.ndarray:
        """Return int [W], how often the rarest piece of each word occurred; 0 where not known.

        Args:
            counts: [V], how often each piece occurred.
        """
        return np.array([counts[p].min() if len(p) else 0 for p in self.pieces], np.int64)


def split_words(tokenizer: Tokenizer, words: Sequence[str]) -> Words:
    """Cut each word as `tokenizer` would in running text.

    Args:
        words: may hold spaces: all pieces count alike.
    """
    cut = [np.asarray(tokenizer.piece_ids(word), np.int64) for word in words]
    none = np.zeros(0, np.int64)
    return Words(tuple(words), tuple(none if tokenizer.unk_id in p else p for p in cut))


class Neighbour(NamedTuple):
    """A piece near a word.

    Attributes:
        piece: as the vocabulary writes it.
        cosine: to the word (`token_rows.py` says from where).
        row: of the token table.
    """

    piece: str
    cosine: float
    row: int


def neighbours(
    tables: EmbeddingTables | TokenRows,
    words: str | Sequence[str],
    k: int = 10,
    candidates: np.ndarray | None = None,
) -> dict[str, list[Neighbour]]:
    """The pieces whose rows are nearest to each word's, nearest first.

        >>> from bert_jax import EmbeddingTables, Tokenizer
        >>> pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "cats", "sum", "sums"]
        >>> token = np.eye(9)[[0, 1, 2, 3, 4, 5, 5, 6, 6]] + np.eye(9) / 4
        >>> others = token[:2], token[:4], token[0], token[0]
        >>> tables = EmbeddingTables(token, *others, tokenizer=Tokenizer(pieces))
        >>> [near.piece for near in neighbours(tables, "cat", k=2)["cat"]]
        ['cats', 'sum']

    Args:
        tables: with their vocabulary; or `TokenRows(tables)`, which is prepared once for many
            questions: the first takes a second, the others milliseconds.
        words: one, or a list of them; a word of several pieces is the mean of their rows.
        k: how many.
        candidates: row numbers that may be neighbours, such as `TokenRows.words(counts, 100)`;
            None for those of all pieces but the special and the unused ones.

    Raises:
        UserError: a word that the vocabulary cannot write, or tables without a vocabulary.
    """
    rows = tables if isinstance(tables, TokenRows) else TokenRows(tables)
    words, k = strings("words", words, "words"), whole_number("k", k)
    split = split_words(rows.tokenizer, words)
    if unknown := [word for word, known in zip(words, split.known, strict=True) if not known]:
        raise UserError(
            f"got {', '.join(map(repr, unknown))}; expected words that the vocabulary can write"
        )
    found = word_neighbours(rows, split, k, candidates)
    return {
        word: [Neighbour(rows.pieces[row], cosine, row) for row, cosine in found.of(number)]
        for number, word in enumerate(words)
    }


def word_neighbours(
    rows: TokenRows, words: Words, k: int, candidates: np.ndarray | None = None
) -> Neighbours:
    """The rows nearest to each of some known words; a word's own pieces are not among them.

    Args:
        candidates: row numbers that may be neighbours; None for the ordinary ones.
    """
    own = np.full((len(words.words), max(map(len, words.pieces), default=0)), -1)
    for number, pieces in enumerate(words.pieces):
        own[number, : len(pieces)] = pieces
    index = rows.index if candidates is None else RowIndex(rows.table, candidates, rows.centre)
    return index.nearest_to(words.vectors(rows.table), k, own)


def word_similarity(tables: EmbeddingTables, pairs: ScoredPairs | str | Path) -> Agreement:
    """How well the cosines of words order pairs of them as people do.

        word_similarity(load_tables("runs/pretrain"), "EN-WS-353-ALL.txt").rho

    Args:
        tables: with their vocabulary.
        pairs: or the file of them.

    Raises:
        UserError: the file cannot be read, or tables without a vocabulary.
    """
    rows = TokenRows(tables)
    pairs = pairs if isinstance(pairs, ScoredPairs) else read_scored_pairs(pairs)
    first, second = (
        split_words(rows.tokenizer, side).vectors(rows.table) - rows.centre
        for side in (pairs.first, pairs.second)
    )
    return agreement(first, second, pairs.scores)


def solve_analogies(
    table: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    k: int,
    candidates: np.ndarray | None = None,
    centre: np.ndarray | None = None,
) -> Neighbours:
    """The rows nearest to b - a + c, all three first brought to length 1 round the centre.

    "3CosAdd" of Mikolov et al. 2013 (https://arxiv.org/abs/1301.3781), as Levy & Goldberg 2014
    write it down. The three rows of a question cannot be answers to it.

    Args:
        table: [V, D].
        a, b, c: [Q] row numbers: one question each.
        k: how many answers; fewer where there are fewer candidates.
        candidates: [C] row numbers that may be answers; None for all.
        centre: [D], where directions begin; None for the mean of all rows of the table.
    """
    centre = mean_row(table) if centre is None else centre
    unit_a, unit_b, unit_c = (directions(table[np.asarray(ids)], centre) for ids in (a, b, c))
    sought = unit_b - unit_a + unit_c + centre.astype(np.float32)
    excluded = np.stack([np.asarray(a), np.asarray(b), np.asarray(c)], axis=1)
    return nearest_to(table, sought, k, candidates, excluded, centre)


@dataclasses.dataclass(frozen=True)
class Outlier:
    """The word that fits least, and how well each fits.

    Attributes:
        index: which of the n words it is.
        fit: [n] mean cosine of each word to the others.
    """

    index: int
    fit: np.ndarray


def find_outlier(vectors: np.ndarray, centre: np.ndarray | float = 0.0) -> Outlier:
    """The word whose mean cosine to the others is lowest.

    The measure of Camacho-Collados & Navigli 2016, "Find the word that does not belong".

    Args:
        vectors: [n, D], at least three.
        centre: [D], taken off first, such as `TokenRows.centre`.

    Raises:
        UserError: fewer than three.
    """
    expect("vectors", vectors, np.ndarray, "an array [n, D], such as the rows of words")
    if len(vectors) < 3:
        raise UserError(f"got {len(vectors)} words; expected at least 3 to find an outlier among")
    units = directions(vectors, centre)
    cosines = units @ units.T
    fit = (cosines.sum(axis=1) - np.diag(cosines)) / (len(vectors) - 1)
    return Outlier(int(fit.argmin()), fit)


def read_word_groups(
    path: str | Path, least: int, most: int | None = None
) -> list[tuple[str, ...]]:
    """Read lines of words, separated by tabs or else by white space; `: heading`s are skipped.

    Args:
        path: such as the Google analogy set, of four words per line.
        least: words in a line; exactly so many where `most` is the same.
        most: None for any number.

    Raises:
        UserError: no such file, or a line with too few or too many words.
    """
    try:
        lines = at_hand(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not valid UTF-8"
        raise UserError(
            f"got {str(path)!r}, which cannot be read as text ({reason}); expected a file of words,"
            " one group per line"
        ) from None
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith(":"):
            continue
        words = tuple(w.strip() for w in (line.split("\t") if "\t" in line else line.split()))
        if len(words) < least or (most is not None and len(words) > most):
            wanted = f"{least}" if most == least else f"at least {least}"
            raise UserError(f"got {len(words)} words in line {number} of {path}; expected {wanted}")
        found.append(words)
    if not found:
        raise UserError(f"got {path}, which holds no words; expected one group per line")
    return found
