"""Other ways to make the rows of new pieces: what `bert_jax.tables.row_rules` was chosen among.

Each takes a `Puzzle` and returns the composed rows, [H, D]. None sees a hidden row; strengths of
ridges are chosen on every tenth of the kept ones.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import scipy.sparse

from bert_jax.tables.context_vectors import ContextVectors
from bert_jax.tables.embedding_tables import EmbeddingTables
from bert_jax.tables.row_rules import SpelledMean
from bert_jax.tables.spelling_features import SpellingFeatures
from bert_jax.tables.vocabulary_surgery import NewRows, length_weights, move_vocabulary
from bert_jax.text.spelling import Speller
from bert_jax.text.tokenizer import Tokenizer

_BUCKETS = 2048
_STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)
_SEEN = 5  # times that text must have a piece for its context to count
_RARE = 1e-3  # of Arora et al. 2017, whose weights are _RARE / (_RARE + frequency)


@dataclasses.dataclass(frozen=True, eq=False)
class Puzzle:
    """Tables without some rows, and which rows are looked for.

    Attributes:
        tables: without the hidden pieces.
        full: the vocabulary that has them.
        hidden: the H pieces.
        contexts: of all pieces, from text; None without text.
        count: [V] of the full vocabulary, how often text has each piece.
    """

    tables: EmbeddingTables
    full: Tokenizer
    hidden: tuple[str, ...]
    contexts: ContextVectors | None = None
    count: np.ndarray | None = None

    @property
    def less(self) -> Tokenizer:
        """The vocabulary without the hidden pieces."""
        assert self.tables.tokenizer is not None
        return self.tables.tokenizer

    @functools.cached_property
    def kept(self) -> list[str]:
        """Pieces of text that are not hidden, to learn from."""
        is_text = Speller(self.less).is_text
        return [piece for piece in self.less.pieces if is_text(piece)]

    @functools.cached_property
    def kept_rows(self) -> np.ndarray:
        """[K, D], of `kept`."""
        return self.tables.token[[self.less.id_of(piece) for piece in self.kept]]

    def counts_of(self, pieces: Sequence[str]) -> np.ndarray:
        """[N]: how often text has each."""
        assert self.count is not None
        return self.count[[self.full.id_of(piece) for piece in pieces]]

    def moved(self, how: NewRows) -> np.ndarray:
        """[H, D]: what surgery makes of the hidden pieces."""
        rows = move_vocabulary(self.tables, self.full, how).tables.token
        return rows[[self.full.id_of(piece) for piece in self.hidden]]


def mean_by_rarity(puzzle: Puzzle) -> np.ndarray:
    """The mean of the spelling, by length and by how rare a piece is in text."""
    count = puzzle.counts_of(puzzle.less.pieces)
    rarity = _RARE / (_RARE + count / max(count.sum(), 1))
    return puzzle.moved(NewRows(SpelledMean(rarity * length_weights(puzzle.less))))


def focus(puzzle: Puzzle) -> np.ndarray:
    """Means of the rows used most alike, by the sparsemax of cosines (Dobler and de Melo 2023)."""
    assert puzzle.contexts is not None
    seen = np.flatnonzero(puzzle.counts_of(puzzle.kept) >= _SEEN)
    there = _unit(puzzle.contexts.of([puzzle.kept[i] for i in seen]))
    weights = sparsemax(_unit(puzzle.contexts.of(puzzle.hidden)) @ there.T)
    return weights @ puzzle.kept_rows[seen]


def ridge_of_contexts(puzzle: Puzzle) -> np.ndarray:
    """A linear map from contexts to rows."""
    assert puzzle.contexts is not None
    return _ridge(puzzle, puzzle.contexts.of(puzzle.kept), puzzle.contexts.of(puzzle.hidden))


def ridge_of_strings(puzzle: Puzzle) -> np.ndarray:
    """A linear map from hashed strings of letters to rows, as fastText makes vectors of words."""
    return _ridge(puzzle, *_hashed(puzzle))


def ridge_of_spellings(puzzle: Puzzle) -> np.ndarray:
    """A linear map from everything the old vocabulary says about a piece to its row.

    Mean, first and last row of the pieces that spell it, and its hashed strings. Kept pieces are
    spelled without themselves.
    """
    kept, hidden = _hashed(puzzle)
    return _ridge(
        puzzle, np.hstack([kept, _parts(puzzle, puzzle.kept)]),
        np.hstack([hidden, _parts(puzzle, puzzle.hidden)]),
    )  # fmt: skip


def ridge_of_everything(puzzle: Puzzle) -> np.ndarray:
    """The same, and contexts and the logarithm of counts."""
    assert puzzle.contexts is not None
    sides = []
    for pieces, strings in zip((puzzle.kept, puzzle.hidden), _hashed(puzzle), strict=True):
        counts = np.log1p(puzzle.counts_of(pieces))[:, None] / 10
        parts = _parts(puzzle, pieces)
        sides.append(np.hstack([strings, parts, puzzle.contexts.of(pieces), counts]))
    return _ridge(puzzle, *sides)


def _ridge(puzzle: Puzzle, kept: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """[H, D]: by the strength of which every tenth kept row is foretold best by the others."""
    centre, scale = kept.mean(axis=0), kept.std() + 1e-9
    kept, hidden = ((side - centre).astype(np.float32) / scale for side in (kept, hidden))
    mean = puzzle.kept_rows.mean(axis=0)
    wanted = puzzle.kept_rows - mean
    out = np.arange(len(kept)) % 10 == 0

    def fitted(features: np.ndarray, rows: np.ndarray, strength: float) -> np.ndarray:
        square = features.T @ features
        square[np.diag_indices(len(square))] += strength * len(features) / 100
        return np.linalg.solve(square, features.T @ rows)

    def error(strength: float) -> float:
        found = kept[out] @ fitted(kept[~out], wanted[~out], strength)
        return float(np.square(found - wanted[out]).sum())

    return mean + hidden @ fitted(kept, wanted, min(_STRENGTHS, key=error))


def _hashed(puzzle: Puzzle) -> tuple[np.ndarray, np.ndarray]:
    """Strings of kept and hidden pieces, each in one of a few columns, with a sign."""
    features = SpellingFeatures(puzzle.kept)
    kept, hidden = features(puzzle.kept), features(puzzle.hidden)
    strings, draw = kept.shape[1], np.random.default_rng(0)
    signs = draw.choice(np.array([-1, 1], np.float32), strings)
    columns = draw.integers(0, _BUCKETS, strings)
    table = scipy.sparse.csr_array((signs, (np.arange(strings), columns)), (strings, _BUCKETS))
    return (kept @ table).toarray(), (hidden @ table).toarray()


def _parts(puzzle: Puzzle, pieces: Sequence[str]) -> np.ndarray:
    """[N, 3 D]: mean by letters, first and last row of what spells each without itself."""
    rows = puzzle.tables.token - puzzle.kept_rows.mean(axis=0)
    rows /= np.linalg.norm(rows, axis=1).mean()
    known = {piece: i for i, piece in enumerate(puzzle.less.pieces)}
    letters = length_weights(puzzle.less)
    made = np.zeros((len(pieces), 3, rows.shape[1]), np.float32)
    for n, piece in enumerate(pieces):
        if ids := spelled_by_others(piece, known):
            weights = letters[ids] / letters[ids].sum()
            made[n] = weights @ rows[ids], rows[ids[0]], rows[ids[-1]]
    return made.reshape(len(pieces), -1)


def spelled_by_others(piece: str, known: dict[str, int]) -> list[int]:
    """Greedily by the longest known pieces but itself; nothing where that does not work."""
    inside = piece.startswith("##") and len(piece) > 2
    rest, mark, ids = piece[2:] if inside else piece, "##" if inside else "", []
    while rest:
        ends = range(len(rest), 0, -1)
        end = next((e for e in ends if mark + rest[:e] in known and mark + rest[:e] != piece), 0)
        if not end:
            return []
        ids.append(known[mark + rest[:end]])
        rest, mark = rest[end:], "##"
    return ids


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def sparsemax(scores: np.ndarray) -> np.ndarray:
    """The nearest distribution to each row of scores (Martins and Astudillo 2016)."""
    falling = -np.sort(-scores.astype(np.float64), axis=1)
    numbers = np.arange(1, scores.shape[1] + 1)
    sums = falling.cumsum(axis=1)
    used = (1 + numbers * falling > sums).sum(axis=1, keepdims=True)
    least = (np.take_along_axis(sums, used - 1, axis=1) - 1) / used
    return np.maximum(scores - least, 0)
