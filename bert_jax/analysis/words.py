"""Vectors of whole words: a piece's row, or the mean of the rows of a word of several pieces."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bert_jax.errors import UserError
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


def read_word_groups(
    path: str | Path, least: int, most: int | None = None
) -> list[tuple[str, ...]]:
    """Read lines of words, divided by tabs or else by white space; `: heading`s are skipped.

    Args:
        path: such as the Google analogy set, of four words a line.
        least: words in a line; exactly so many where `most` is the same.
        most: None for any number.

    Raises:
        UserError: no such file, or a line with too few or too many words.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no UTF-8"
        raise UserError(
            f"got {str(path)!r}, which cannot be read as text ({reason}); expected a file of"
            " words, a group a line"
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
        raise UserError(f"got {path}, which holds no words; expected a group a line")
    return found
