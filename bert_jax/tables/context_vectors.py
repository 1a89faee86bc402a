"""Pieces as vectors of what stands next to them in a text: pieces used alike are close.

Counts of neighbours within five pieces, each weighed by 1 / distance; their positive pointwise
mutual information, with counts of context to the power ¾; its largest 200 singular directions
(Levy, Goldberg and Dagan 2015: as good as word2vec on texts of this size, and drawn once rather
than trained). 15 million pieces of 30,522 kinds: 40 s on one core.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import scipy.sparse
from threadpoolctl import threadpool_limits

from bert_jax.text.tokenizer import Tokenizer

_WINDOW = 5
_CONTEXT_POWER = 0.75
_WIDTH = 200
_SURPLUS = 20  # directions more than are kept, which make the kept ones better (Halko et al. 2011)
_ROUNDS = 2  # of the power iteration, for the same
_DOUBT = 20.0  # a piece seen so often has half the weight of one seen for ever
_BLOCK = 1 << 21  # pieces of text whose pairs are in memory at a time


@dataclasses.dataclass(frozen=True, eq=False)
class ContextVectors:
    """Vectors of pieces, shorter than 1 where a piece was seen seldom, 0 where never.

    Attributes:
        tokenizer: that cut the text.
        vectors: [V, K] float32.
    """

    tokenizer: Tokenizer
    vectors: np.ndarray

    def of(self, pieces: Sequence[str]) -> np.ndarray:
        """[N, K]: the vectors of some pieces, 0 for what the tokenizer does not have."""
        places = {piece: i for i, piece in enumerate(self.tokenizer.pieces)}
        padded = np.append(self.vectors, np.zeros_like(self.vectors[:1]), axis=0)
        return padded[[places.get(piece, -1) for piece in pieces]]


def context_vectors(
    tokenizer: Tokenizer, documents: Iterable[np.ndarray], seed: int = 0
) -> ContextVectors:
    """Learn vectors from text: the same ones, whatever the order of the vocabulary.

    Args:
        tokenizer: V pieces.
        documents: the ids of each, int [n]; neighbours are looked for within one.
        seed: of the draw that finds the singular directions.
    """
    size = tokenizer.vocab_size
    by_piece = np.array(sorted(range(size), key=tokenizer.pieces.__getitem__))
    place = np.empty(size, np.int64)
    place[by_piece] = np.arange(size)
    count = np.zeros(size)
    pairs = scipy.sparse.csr_array((size, size), dtype=np.float32)
    for block in _blocks(documents):
        text = np.where(block >= 0, place[block], -1)
        count += np.bincount(text[text >= 0], minlength=size)
        for distance in range(1, _WINDOW + 1):
            left, right = text[:-distance], text[distance:]
            both = (left >= 0) & (right >= 0)
            ones = np.full(both.sum(), 1 / distance, np.float32)
            pairs += scipy.sparse.csr_array((ones, (left[both], right[both])), (size, size))
    with threadpool_limits(1, "blas"):  # or the last bits would depend on the number of cores
        vectors = _singular_directions(_information(pairs + pairs.T), seed)
    length = np.linalg.norm(vectors, axis=1)
    trust = np.sqrt(count / (count + _DOUBT)) / np.maximum(length, 1e-9)
    return ContextVectors(tokenizer, (vectors * trust[:, None]).astype(np.float32)[place])


def _blocks(documents: Iterable[np.ndarray]) -> Iterable[np.ndarray]:
    """Documents one after the other, parted by more than a window of -1."""
    gathered, length = [], 0
    for document in documents:
        for start in range(0, len(document), _BLOCK):
            gathered += [np.asarray(document[start : start + _BLOCK], np.int64), _BETWEEN]
            length += len(gathered[-2])
            if length >= _BLOCK:
                yield np.concatenate(gathered)
                gathered, length = [], 0
    if gathered:
        yield np.concatenate(gathered)


_BETWEEN = np.full(_WINDOW, -1)


def _information(pairs: scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    """The positive pointwise mutual information of the two pieces of each pair."""
    own = pairs.sum(axis=1)
    as_context = own**_CONTEXT_POWER
    as_context /= max(as_context.sum(), 1e-9)
    triples = pairs.tocoo()
    left, right = triples.coords
    information = np.log(triples.data / (own[left] * as_context[right]))
    more = information > 0
    return scipy.sparse.csr_array((information[more], (left[more], right[more])), pairs.shape)


def _singular_directions(matrix: scipy.sparse.csr_array, seed: int) -> np.ndarray:
    """[V, K]: U √S of a truncated singular value decomposition, found by a draw of directions."""
    size = matrix.shape[0]
    width = min(_WIDTH + _SURPLUS, size)
    draw = np.random.default_rng(seed).normal(size=(size, width)).astype(np.float32)
    basis = np.linalg.qr(matrix @ draw).Q
    for _ in range(_ROUNDS):
        basis = np.linalg.qr(matrix @ (matrix.T @ basis)).Q
    small, values, _ = np.linalg.svd((matrix.T @ basis).T, full_matrices=False)
    return (basis @ small * np.sqrt(values))[:, :_WIDTH]
