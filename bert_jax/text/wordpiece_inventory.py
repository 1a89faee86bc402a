"""Where a WordPiece learner starts: the inventory of characters, and every word cut into them.

A character at the start of a word and the same character further in are two different pieces:

    word      count          characters                         symbols
    "the"       7            "a" "e" "t" "##e" "##h" …          [t, ##h, ##e]
    "tea"       2                                               [t, ##e, ##a]
"""

import itertools
from dataclasses import dataclass

import numpy as np

from bert_jax.text.word_counts import WordCounts

CONTINUATION = "##"  # how BERT's vocabulary marks a piece that does not start a word


@dataclass(frozen=True)
class CharacterWords:
    """Words as runs of character pieces, laid end to end.

    Attributes:
        characters: the character pieces; sorted, word-initial ones first.
        symbols: int32 [X], every word's characters as indices into `characters`, each word
            followed by one −1, and a −1 before the first.
        weights: int64 [X], the count of the word that a symbol stands in (0 where it is −1).
        dropped_words: running words left out because of a character outside the inventory.
        dropped_characters: distinct characters outside the inventory.
    """

    characters: tuple[str, ...]
    symbols: np.ndarray
    weights: np.ndarray
    dropped_words: int
    dropped_characters: int

    def words(self) -> tuple[list[list[int]], list[int]]:
        """Return the words as lists of symbols, and the count of each: for plain Python."""
        ends = np.flatnonzero(self.symbols == -1)
        words = [
            self.symbols[start + 1 : end].tolist()
            for start, end in itertools.pairwise(ends.tolist())
        ]
        return words, self.weights[ends[:-1] + 1].tolist()


def cut_into_characters(counts: WordCounts, coverage: float = 1.0) -> CharacterWords:
    """Choose the characters and cut the words into them.

    The most frequent characters are kept until they make up `coverage` of all running characters
    (equal counts: the smaller code point first). A word with any other character is left out, as
    encoding would make it [UNK] whole.

    Args:
        counts: the words and how often each occurs.
        coverage: share of the running characters to keep, in (0, 1].
    """
    codes, lengths = _code_points(counts.words)
    word_of = np.repeat(np.arange(len(lengths)), lengths)
    found, kept = _frequent(codes, counts.counts[word_of], coverage)
    known = np.isin(codes, kept)
    whole = np.ones(len(lengths), bool)
    whole[word_of[~known]] = False

    codes, word_of, lengths = codes[whole[word_of]], word_of[whole[word_of]], lengths[whole]
    word_counts = counts.counts[whole]
    starts = np.cumsum(lengths) - lengths
    role = np.ones(len(codes), np.int64)  # 0: starts a word
    role[starts] = 0
    # One number a piece, whose order is the order of the inventory: word-initial first, then by
    # code point.
    numbers, symbols = np.unique(role << 32 | codes, return_inverse=True)
    characters = tuple(
        (CONTINUATION if number >> 32 else "") + chr(number & 0xFFFFFFFF)
        for number in numbers.tolist()
    )

    place = 1 + np.arange(len(codes)) + np.repeat(np.arange(len(lengths)), lengths)
    laid = np.full(len(codes) + len(lengths) + 1, -1, np.int32)
    weights = np.zeros(len(laid), np.int64)
    laid[place] = symbols
    weights[place] = np.repeat(word_counts, lengths)
    return CharacterWords(
        characters=characters,
        symbols=laid,
        weights=weights,
        dropped_words=int(counts.counts[~whole].sum()),
        dropped_characters=found - len(kept),
    )


def _code_points(words: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return all code points of all words, int64 [X], and the length of each word, int64 [W]."""
    codes = np.frombuffer("".join(words).encode("utf-32-le"), np.uint32).astype(np.int64)
    return codes, np.fromiter(map(len, words), np.int64, len(words))


def _frequent(codes: np.ndarray, weights: np.ndarray, coverage: float) -> tuple[int, np.ndarray]:
    """Return how many code points there are, and the most frequent that make up `coverage`."""
    found, index = np.unique(codes, return_inverse=True)
    mass = np.zeros(len(found), np.int64)
    np.add.at(mass, index, weights)
    order = np.lexsort((found, -mass))
    reached = np.cumsum(mass[order])
    # The first k whose sum is enough; all of them at coverage 1.
    enough = int(np.searchsorted(reached, coverage * mass.sum() * (1 - 1e-12))) + 1
    return len(found), found[order[:enough]]
