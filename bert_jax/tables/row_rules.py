"""How the row of a new piece is blended of old rows: a mean of its parts, or a regression.

    SpelledMean           ndarray =  (nd + ##ar + ##ray) / 3
    SpellingRegression    walker  =  m + 0.41 (walk - m) + 0.22 (walked - m) + …, m the mean row

A rule sees spellings (and text, where it is given), never rows. So one blend serves every array
with a row a piece, and its rows are the same whatever else is in the new vocabulary.

The regression is a Gaussian process from spellings to rows, seen only from the piece itself: its
kin, the old pieces most like it, are known exactly, up to noise, and the row expected in their
midst is a sum of theirs (kriging; Rasmussen and Williams 2006, equation 2.23). Measured against
its rivals in docs/embedding_tables.md.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import scipy.sparse
from threadpoolctl import threadpool_limits

from bert_jax.errors import UserError
from bert_jax.progress import ProgressBar
from bert_jax.tables.context_vectors import ContextVectors
from bert_jax.tables.spelling_features import SpellingFeatures
from bert_jax.text.spelling import Speller
from bert_jax.text.tokenizer import Tokenizer

_CHUNK = 256  # pieces whose likeness to all old ones is in memory at a time
_FEWEST = 200  # old pieces to learn from; that many were measured to be better than the mean


@dataclasses.dataclass(frozen=True, eq=False)
class Blend:
    """A row as a sum of old ones; the mean row makes up what the weights lack to 1.

    Attributes:
        ids: of old pieces.
        weights: [n] float64.
        whole: whether the weights sum to 1 as they are, up to rounding.
    """

    ids: tuple[int, ...]
    weights: np.ndarray
    whole: bool = False

    @property
    def rest(self) -> float:
        """What the mean row weighs."""
        return 0.0 if self.whole else 1.0 - float(self.weights.sum())


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a rule says.

    Attributes:
        blends: for every piece that was asked for.
        by: how, for people.
    """

    blends: Mapping[str, Blend]
    by: str


class RowRule(Protocol):
    """Says of which old rows new ones are made."""

    def recipe(self, old: Tokenizer, spelled: Mapping[str, tuple[int, ...]]) -> Recipe:
        """Blend a row for each piece of `spelled`: new ones, and the old ids that spell them.

        Raises:
            UserError: what the rule was given does not fit the old vocabulary.
        """
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class SpelledMean:
    """The mean of the rows of the old pieces that spell the new one.

    Attributes:
        weights: [V] of the old pieces, at least 0, to weigh the mean by (equally, where they are
            all 0). None weighs equally; `length_weights` by length.
    """

    weights: np.ndarray | None = None

    def recipe(self, old: Tokenizer, spelled: Mapping[str, tuple[int, ...]]) -> Recipe:
        """As `RowRule`.

        Raises:
            UserError: weights that are not one number of at least 0 for each old piece.
        """
        given = np.ones(old.vocab_size) if self.weights is None else np.asarray(self.weights)
        if given.shape != (old.vocab_size,) or not (np.isfinite(given) & (given >= 0)).all():
            raise UserError(
                f"got weights of shape {list(given.shape)}; expected a number of at least 0 for"
                f" each of the {old.vocab_size} old pieces"
            )

        def blend(ids: tuple[int, ...]) -> Blend:
            weights = given[list(ids)].astype(np.float64)
            weights = weights if weights.any() else np.ones(len(ids))
            return Blend(ids, weights / weights.sum(), whole=True)

        by = "the mean of the pieces that spell it" + ("" if self.weights is None else ", weighted")
        return Recipe({piece: blend(ids) for piece, ids in spelled.items()}, by)


@dataclasses.dataclass(frozen=True, eq=False)
class SpellingRegression:
    """The row that the rows of pieces spelled alike make likely.

    Old vocabularies of fewer than 200 pieces of text say too little about spelling; there, and
    for a piece that shares no string of letters with an old one, it is the `SpelledMean`.

    Attributes:
        contexts: what text says about pieces, so that those used alike are kin too.
        kin: old pieces that a row is made of.
        noise: variance of a row that spelling does not explain, in parts of what it does.
        context_share: how much contexts count, in parts of what spelling does.
    """

    contexts: ContextVectors | None = None
    kin: int = 128
    noise: float = 0.3
    context_share: float = 0.3

    def recipe(self, old: Tokenizer, spelled: Mapping[str, tuple[int, ...]]) -> Recipe:
        """As `RowRule`."""
        mean = SpelledMean().recipe(old, spelled)
        # Sorted by piece, so that the order of the vocabulary does not even change the rounding.
        is_text = Speller(old).is_text
        known = sorted((piece, i) for i, piece in enumerate(old.pieces) if is_text(piece))
        if len(known) < _FEWEST:
            few = f"{len(known)} old pieces are too few for more"
            return dataclasses.replace(mean, by=f"{mean.by}; {few}")
        if not spelled:
            return dataclasses.replace(mean, by="regression on spellings")
        pieces, ids = [piece for piece, _ in known], np.array([i for _, i in known])
        features = SpellingFeatures(pieces)
        # A new piece is spelled as the old vocabulary reads it: without capitals if it has none.
        spelled = dict(sorted(spelled.items()))
        read = [_joined([old.pieces[i] for i in parts]) for parts in spelled.values()]
        views = [_Views(features(read), features(pieces))]
        if self.contexts is not None:
            share = np.float32(np.sqrt(self.context_share))
            new, seen = (share * self.contexts.of(which) for which in (list(spelled), pieces))
            views.append(_Views(new, seen))
        blends = dict(mean.blends)
        # On one thread: two take fifty times as long for systems as small as these where cores are
        # busy, and the last bits are the same on any machine's number of them.
        bar = ProgressBar("blending new rows", len(spelled))
        with threadpool_limits(1, "blas"), bar:
            for piece, (kin, weights) in zip(spelled, self._regressions(views), strict=True):
                bar.advance(1)
                if len(kin):
                    blends[piece] = Blend(tuple(ids[kin].tolist()), weights)
        by = "regression on spellings" + ("" if self.contexts is None else " and contexts")
        return Recipe(blends, by)

    def _regressions(self, views: list[_Views]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each new piece the places of its kin, and their weights, the largest first."""
        for start in range(0, views[0].new.shape[0], _CHUNK):
            chunk = slice(start, start + _CHUNK)
            for likeness in _sum(view.likeness(chunk) for view in views):
                # The likest first, and of equally like ones the first by name.
                few = min(self.kin, len(likeness))
                least = np.partition(likeness, -few)[-few]
                kin = np.flatnonzero(likeness >= max(least, 1e-6))
                kin = np.sort(kin[np.argsort(-likeness[kin], kind="stable")][:few])
                among = _sum(view.among(kin) for view in views).astype(np.float64)
                among[np.diag_indices(len(kin))] += self.noise
                weights = np.linalg.solve(among, likeness[kin].astype(np.float64))
                order = np.argsort(-abs(weights), kind="stable")
                yield kin[order], weights[order]


@dataclasses.dataclass(frozen=True, eq=False)
class _Views:
    """Vectors, dense or sparse, of N new and V old pieces, whose products are their likeness."""

    new: np.ndarray | scipy.sparse.csr_array
    old: np.ndarray | scipy.sparse.csr_array

    def likeness(self, rows: slice) -> np.ndarray:
        """[n, V] of some new pieces to all old ones."""
        return _dense(self.new[rows] @ self.old.T)

    def among(self, kin: np.ndarray) -> np.ndarray:
        """[k, k] of some old pieces to each other."""
        these = self.old[kin]
        return _dense(these @ these.T)


def _sum(arrays: Iterable[np.ndarray]) -> np.ndarray:
    return functools.reduce(np.add, arrays)


def _dense(product: np.ndarray | scipy.sparse.csr_array) -> np.ndarray:
    return product if isinstance(product, np.ndarray) else product.toarray()


def _joined(pieces: Sequence[str]) -> str:
    """nd ##ar ##ray -> ndarray; ##ar ##ray -> ##array."""
    first, *rest = pieces
    return first + "".join(piece.removeprefix("##") for piece in rest)
