"""Words in their contexts: where they stand in a corpus, and how far the layers move them.

Measures of Ethayarajh 2019 (https://arxiv.org/abs/1909.00512).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from bert_jax.analysis.hidden_states import HiddenStates
from bert_jax.text.tokenizer import Tokenizer

_BATCH_ROWS = 64


@dataclasses.dataclass(frozen=True)
class Occurrences:
    """n places where one of W words stands.

    Attributes:
        rows: int32 [n, L], [CLS] … [SEP] and padding; the word is in the middle where it can be.
        lengths: [n] real positions of each row.
        words: [n] which word.
        starts: [n] position of its first piece in the row.
        spans: [n] how many pieces it has.
    """

    rows: np.ndarray
    lengths: np.ndarray
    words: np.ndarray
    starts: np.ndarray
    spans: np.ndarray


def find_occurrences(
    documents: Iterable[np.ndarray],
    words: Sequence[np.ndarray],
    tokenizer: Tokenizer,
    *,
    most: int,
    most_in_document: int,
    length: int = 64,
) -> Occurrences:
    """Find up to `most` places of each word, reading no further than needed.

    Args:
        documents: pieces [t] of one document each; a row never reaches into another document.
        words: W arrays of pieces; a word stands where all its pieces do and no continuation
            piece follows. An empty one is never found.
        tokenizer: whose pieces these are.
        most: places of one word that are kept.
        most_in_document: in a single document.
        length: L.
    """
    longest = length - 2  # [CLS] and [SEP]
    by_first: dict[int, list[int]] = {}
    for number, pieces in enumerate(words):
        if 0 < len(pieces) <= longest:
            by_first.setdefault(int(pieces[0]), []).append(number)
    wanted = np.zeros(tokenizer.vocab_size, bool)
    wanted[list(by_first)] = True
    continues = tokenizer.is_continuation
    found = np.zeros(len(words), np.int64)
    places: list[tuple[np.ndarray, int, int, int]] = []
    for document in documents:
        if not by_first:
            break
        here: dict[int, int] = {}
        for at in np.flatnonzero(wanted[document]).tolist():
            for number in by_first.get(int(document[at]), ()):
                pieces = words[number]
                end = at + len(pieces)
                if here.get(number, 0) >= most_in_document or found[number] >= most:
                    continue
                if end < len(document) and continues[document[end]]:
                    continue
                if not np.array_equal(document[at:end], pieces):
                    continue
                first = max(0, min(at - (longest - len(pieces)) // 2, len(document) - longest))
                places.append((document[first : first + longest], number, at - first, len(pieces)))
                here[number] = here.get(number, 0) + 1
                found[number] += 1
        for number in here:
            if found[number] >= most:
                first_piece = int(words[number][0])
                by_first[first_piece].remove(number)
                if not by_first[first_piece]:
                    del by_first[first_piece]
                    wanted[first_piece] = False
    return _as_rows(places, tokenizer, length)


def occurrence_states(
    hidden: HiddenStates, found: Occurrences
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield slices of the occurrences and their states [layers + 1, n, D], pieces averaged."""
    count, length = found.rows.shape
    for start in range(0, count, _BATCH_ROWS):
        part = slice(start, min(start + _BATCH_ROWS, count))
        rows = np.arange(start, start + _BATCH_ROWS) % count  # the last batch is filled up
        at = np.arange(length)
        first, span = found.starts[rows, None], found.spans[rows, None]
        weights = ((at >= first) & (at < first + span)) / span
        states = hidden.pooled(
            found.rows[rows], weights[:, None].astype(np.float32), found.lengths[rows]
        )
        yield part, states[:, : part.stop - part.start, 0]


def mean_states(hidden: HiddenStates, found: Occurrences, words: int) -> np.ndarray:
    """Average each word's states over its occurrences: [layers + 1, W, D], NaN where it has none.

    Args:
        words: W.
    """
    sums = np.zeros((hidden.layers, words, hidden.config.hidden_size))
    for part, states in occurrence_states(hidden, found):
        for layer, layer_states in zip(sums, states, strict=True):
            np.add.at(layer, found.words[part], layer_states)
    counts = np.bincount(found.words, minlength=words).astype(float)
    counts[counts == 0] = np.nan
    return (sums / counts[:, None]).astype(np.float32)


def _as_rows(
    places: Sequence[tuple[np.ndarray, int, int, int]], tokenizer: Tokenizer, length: int
) -> Occurrences:
    rows = np.full((len(places), length), tokenizer.pad_id, np.int32)
    for row, (pieces, *_) in zip(rows, places, strict=True):
        row[0], row[1 : len(pieces) + 1] = tokenizer.cls_id, pieces
        row[len(pieces) + 1] = tokenizer.sep_id
    lengths, words, starts, spans = (
        np.array(values, np.int32)
        for values in (
            [len(pieces) + 2 for pieces, *_ in places],
            [number for _, number, _, _ in places],
            [start + 1 for *_, start, _ in places],
            [span for *_, span in places],
        )
    )
    return Occurrences(rows, lengths, words, starts, spans)


@dataclasses.dataclass(frozen=True)
class Contextuality:
    """By layer, from the input representation (0) to the last.

    Attributes:
        self_similarity: [layers + 1] mean cosine of two occurrences of one word.
        baseline: [layers + 1] mean cosine of two occurrences of different words: how narrow the
            cone is in which all states lie.
        to_input_row: [layers + 1] mean cosine of an occurrence to its word's row of the token
            table.
        to_input_state: [layers + 1] mean cosine to its own state at layer 0.
        words, occurrences: how many were compared.
    """

    self_similarity: np.ndarray
    baseline: np.ndarray
    to_input_row: np.ndarray
    to_input_state: np.ndarray
    words: int
    occurrences: int

    @property
    def adjusted(self) -> np.ndarray:
        """[layers + 1] self-similarity less the baseline, as Ethayarajh reports it."""
        return self.self_similarity - self.baseline


def contextuality_of(states: np.ndarray, words: np.ndarray, rows: np.ndarray) -> Contextuality:
    """Measure n occurrences of words that occur at least twice; others are left out.

    Args:
        states: [layers + 1, n, D].
        words: [n] which word each is.
        rows: [n, D] each word's row of the token table.
    """
    words = np.asarray(words)
    often = np.bincount(words)[words] > 1 if len(words) else np.zeros(0, bool)
    states, rows, words = states[:, often], rows[often], words[often]
    numbers, groups = np.unique(words, return_inverse=True)
    units = _units(states)
    sizes = np.bincount(groups, minlength=len(numbers)).astype(float)
    same, different = np.full((2, len(states)), np.nan)
    for layer, layer_units in enumerate(units):
        sums = np.zeros((len(numbers), states.shape[2]))
        np.add.at(sums, groups, layer_units)
        squares = (sums**2).sum(axis=1)
        if len(numbers):
            same[layer] = ((squares - sizes) / (sizes * (sizes - 1))).mean()
        pairs = sizes.sum() ** 2 - (sizes**2).sum()
        if pairs:
            different[layer] = ((sums.sum(axis=0) ** 2).sum() - squares.sum()) / pairs
    if not len(numbers):
        nothing = np.full(len(states), np.nan)
        return Contextuality(nothing, nothing, nothing, nothing, 0, 0)
    return Contextuality(
        self_similarity=same,
        baseline=different,
        to_input_row=np.einsum("lnd,nd->l", units, _units(rows)) / len(words),
        to_input_state=np.einsum("lnd,nd->l", units, units[0]) / len(words),
        words=len(numbers),
        occurrences=len(words),
    )


def _units(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-300)
