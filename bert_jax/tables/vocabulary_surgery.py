"""Move embedding tables to another vocabulary: add pieces, resize, or a new one altogether.

Pieces in both vocabularies keep their rows, bit for bit. The row of a new piece is a blend of old
ones, as a rule says (`row_rules.py`): by default of those that are spelled like it, or else of
those that spelled it before:

    old  nd ##ar ##ray    ->    new  ndarray    row = (row[nd] + row[##ar] + row[##ray]) / 3

A piece the old vocabulary cannot spell gets the mean row, or a draw. What happened to which piece
is in the report.

A plan is made once and applied to everything that has a row for each piece: the token table, the
bias of the MLM head, the decoder of an untied one (`model_surgery.py`).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import scipy.sparse

from bert_jax.errors import UserError
from bert_jax.memory import check_pieces
from bert_jax.tables.embedding_tables import EmbeddingTables
from bert_jax.tables.row_rules import Blend, RowRule, SpellingRegression
from bert_jax.text.added_tokens import AddedToken
from bert_jax.text.spelling import Speller
from bert_jax.text.tokenizer import SPECIAL_PIECES, Tokenizer

Fallback = Literal["mean", "draw"]
_SHOWN = 4  # pieces of a blend in an example of it
_NAMED = 16  # old pieces of a blend that the report names


@dataclasses.dataclass(frozen=True, eq=False)
class NewRows:
    """How rows are made for pieces the old vocabulary lacks.

    Attributes:
        rule: which old rows a new one is blended of, where the old vocabulary can spell it.
        fallback: for pieces that cannot be spelled: "mean", the mean row, or "draw", a normal draw
            with the mean and standard deviation of each column. Special pieces are left out of
            both.
        seed: of the draws. A piece's draw depends on the seed and the piece alone.
    """

    rule: RowRule = dataclasses.field(default_factory=SpellingRegression)
    fallback: Fallback = "mean"
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class VocabularyReport:
    """What became of the pieces.

    Attributes:
        copied: in both vocabularies.
        composed: new ones, and the old pieces their rows are blended of: those that spelled them
            in order, or the sixteen that count most.
        unspellable: new ones that got the fallback.
        dropped: old ones that are no more.
        nameless: rows after the old vocabulary's last piece; dropped too.
        fallback: "mean row" or "draw".
        by: how rows were composed.
    """

    copied: tuple[str, ...]
    composed: Mapping[str, tuple[str, ...]]
    unspellable: tuple[str, ...]
    dropped: tuple[str, ...]
    nameless: int
    fallback: str
    by: str

    def rows(self) -> dict[str, str]:
        """What to show a person, name by name, with a few examples of each."""
        before = len(self.copied) + len(self.dropped)
        after = len(self.copied) + len(self.composed) + len(self.unspellable)
        made = [f"{new} ← {' '.join(old[:_SHOWN])}" for new, old in self.composed.items()]

        def share(these: Iterable[str], examples: list[str], mark: str = ", ") -> str:
            count = len(list(these))
            shown = mark.join(examples[:: max(len(examples) // 4, 1)][:4])
            return f"{count:,} ({count / after:.1%})" + (f": {shown} …" if shown else "")

        shown = {
            "pieces": f"{before:,} → {after:,}",
            "copied": share(self.copied, []),
            "composed": share(self.composed, made, "; "),
            f"not spelled, got the {self.fallback}": share(
                self.unspellable, list(self.unspellable)
            ),
            "dropped": f"{len(self.dropped):,}",
        }
        if self.composed:
            shown["composed by"] = self.by
        if self.nameless:
            shown["rows without a piece, dropped"] = f"{self.nameless:,}"
        return shown

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON holds it."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Moved:
    """The tables after surgery, and what became of the pieces."""

    tables: EmbeddingTables
    report: VocabularyReport


@dataclasses.dataclass(frozen=True, eq=False)
class VocabularyPlan:
    """From which rows of the old vocabulary each row of the new one is made.

    Attributes:
        old, new: the two vocabularies.
        sources: [V'], for each new piece the id of the old one whose row it keeps, or a blend of
            several; None where it cannot be spelled.
        how: how rows are made.
        by: how blends were made, for people.
    """

    old: Tokenizer
    new: Tokenizer
    sources: tuple[int | Blend | None, ...]
    how: NewRows
    by: str

    def apply(self, rows: np.ndarray, name: str) -> np.ndarray:
        """Make the new rows.

        Args:
            rows: [V, …] or longer, float32, one row for each old piece.
            name: of the array; the draws of one differ from those of another.

        Returns:
            [V', …] float32.
        """
        rows = np.asarray(rows)
        flat = rows.reshape(len(rows), -1)
        new = np.empty((len(self.sources), flat.shape[1]), np.float32)
        kept = {i: source for i, source in enumerate(self.sources) if isinstance(source, int)}
        new[list(kept)] = flat[list(kept.values())]
        mean, deviation = self._moments(flat)
        blends = {i: source for i, source in enumerate(self.sources) if isinstance(source, Blend)}
        new[list(blends)] = _blended(list(blends.values()), flat, mean)
        for i, source in enumerate(self.sources):
            if source is None:
                new[i] = self._lost(self.new.pieces[i], name, mean, deviation)
        return new.reshape(-1, *rows.shape[1:])

    def report(self, rows_before: int) -> VocabularyReport:
        """Say what becomes of every piece.

        Args:
            rows_before: of the old table, padding counted.
        """
        old, new, kept = set(self.old.pieces), self.new.pieces, set(self.new.pieces)
        made_of = {
            piece: (source,) if isinstance(source, int) else source.ids[:_NAMED]
            for piece, source in zip(new, self.sources, strict=True)
            if source is not None and piece not in old
        }
        return VocabularyReport(
            copied=tuple(p for p in new if p in old),
            composed={p: tuple(self.old.pieces[i] for i in ids) for p, ids in made_of.items()},
            unspellable=tuple(p for p in new if p not in old and p not in made_of),
            dropped=tuple(p for p in self.old.pieces if p not in kept),
            nameless=rows_before - self.old.vocab_size,
            fallback="mean row" if self.how.fallback == "mean" else "draw",
            by=self.by,
        )

    def _moments(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of each column, special pieces left out."""
        # Sorted by piece, so that the order of the vocabulary does not even change the rounding.
        by_piece = sorted((piece, i) for i, piece in enumerate(self.old.pieces))
        plain = [i for piece, i in by_piece if piece not in SPECIAL_PIECES]
        known = rows[plain or list(range(self.old.vocab_size))].astype(np.float64)
        return known.mean(axis=0), known.std(axis=0)

    def _lost(self, piece: str, name: str, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
        """The row of a piece that cannot be spelled."""
        if self.how.fallback == "mean":
            return mean
        key = hashlib.sha256(f"{self.how.seed}\0{name}\0{piece}".encode()).digest()
        draw = np.random.default_rng(int.from_bytes(key[:16], "little"))
        return draw.normal(mean, deviation)


def _blended(blends: Sequence[Blend], rows: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """[N, D] float64: each the sum of its rows, in the order of its ids, and its rest of mean."""
    ids = [i for blend in blends for i in blend.ids]
    weights = np.concatenate([np.empty(0), *(blend.weights for blend in blends)])
    ends = np.cumsum([0, *(len(blend.ids) for blend in blends)])
    parts = scipy.sparse.csr_array((weights, ids, ends), (len(blends), len(rows)))
    return parts @ rows.astype(np.float64) + np.outer([blend.rest for blend in blends], mean)


def plan_vocabulary_move(
    old: Tokenizer, new: Tokenizer, how: NewRows | None = None
) -> VocabularyPlan:
    """Find out how `old` spells every piece of `new`, and what the rule makes of it.

    30,522 old pieces and 2,000 new ones: 5 s on one core.

    Raises:
        UserError: what the rule was given does not fit the old vocabulary.
    """
    how = how or NewRows()
    ids = {piece: i for i, piece in enumerate(old.pieces)}
    speller = Speller(old)
    spelled = {piece: speller.spell(piece) for piece in new.pieces if piece not in ids}
    recipe = how.rule.recipe(
        old, {piece: parts for piece, parts in spelled.items() if len(parts) > 1}
    )

    def source(piece: str) -> int | Blend | None:
        if piece in ids:
            return ids[piece]
        if piece in recipe.blends:
            return recipe.blends[piece]
        return spelled[piece][0] if spelled[piece] else None

    return VocabularyPlan(old, new, tuple(map(source, new.pieces)), how, recipe.by)


def move_vocabulary(tables: EmbeddingTables, new: Tokenizer, how: NewRows | None = None) -> Moved:
    """Move tables to the vocabulary of `new`; segment and position tables stay as they are.

    Raises:
        UserError: the tables have no vocabulary to move from.
    """
    if tables.tokenizer is None:
        raise UserError(
            "got embedding tables without a vocabulary; expected tables that say which piece a row"
            " belongs to: give them their tokenizer, or experiments.edit_embeddings their vocab.txt"
        )
    plan = plan_vocabulary_move(tables.tokenizer, new, how)
    moved = tables.replace(token=plan.apply(tables.token, "token"), tokenizer=new)
    return Moved(moved, plan.report(len(tables.token)))


def with_added_pieces(tokenizer: Tokenizer, pieces: Iterable[str]) -> Tokenizer:
    """The vocabulary with more pieces after its last.

    Args:
        tokenizer: stays as it is.
        pieces: words, continuations ("##ine"), or names in brackets such as [ENT], which become
            added tokens: they are found in a text as they are written, before it is split.

    Raises:
        UserError: a piece is there already, or no text would ever be cut into it, such as one with
            a blank inside.
    """
    pieces = list(pieces)
    for piece in pieces:
        if piece in tokenizer.pieces:
            raise UserError(f"got the piece {piece!r}, which already exists; expected new ones")
    added = tokenizer.with_pieces([*tokenizer.pieces, *pieces])
    speller = Speller(added)
    names = []
    for piece in pieces:
        cut = [added.pieces[i] for i in speller.spell(piece)]
        if not cut and piece.startswith("[") and piece.endswith("]"):
            names.append(AddedToken(piece))
        elif cut != [piece]:
            raise UserError(
                f"got the piece {piece!r}, which text is never split into: it is tokenised as"
                f" {' '.join(cut) or 'nothing'}; expected one word, or ## and the rest of one, as"
                " the tokenizer normalises it"
            )
    return added.with_pieces(added.pieces, (*added.added, *names)) if names else added


def with_size(tokenizer: Tokenizer, size: int) -> Tokenizer:
    """The vocabulary cut after `size` pieces, or made that long with [unused…] ones.

    Raises:
        UserError: a special piece would be cut off.
    """
    kept = list(tokenizer.pieces[:size]) if size > 0 else []
    if cut := [piece for piece in SPECIAL_PIECES if piece not in kept]:
        raise UserError(
            f"got a size of {size} pieces, which cuts off {' '.join(cut)}; expected at least"
            f" {max(tokenizer.special_ids) + 1}"
        )
    check_pieces(size, "vocab_size")
    number = 0
    present = set(kept)
    while len(kept) < size:
        piece = f"[unused{number}]"
        if piece not in present:
            kept.append(piece)
        number += 1
    return tokenizer.with_pieces(kept)


def length_weights(tokenizer: Tokenizer) -> np.ndarray:
    """[V]: how many characters each piece has, "##" not counted."""
    both = zip(tokenizer.pieces, tokenizer.is_continuation, strict=True)
    return np.array([len(piece) - 2 * inside for piece, inside in both], np.float64)
