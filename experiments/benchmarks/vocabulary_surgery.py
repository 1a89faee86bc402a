r"""How good are composed rows? Hide trained pieces, compose their rows, and compare.

    python -m experiments.benchmarks.vocabulary_surgery --input=MODEL
    python -m experiments.benchmarks.vocabulary_surgery --input=MODEL --text=FOLDER --rivals

From the vocabulary of a trained model some pieces are taken away; then the tables are moved back
to the full vocabulary, so that every hidden piece gets a row composed of the pieces that spell it
without it. Its true row is known. For each way of composing, those of `row_rules` and with
`--rivals` those of `row_rivals.py` too (`--text` adds the ways that need text):

    median rank   of the true row among all rows, nearest to the composed one first (cosine
                  about the mean of all rows but special and unused ones, as everywhere; the rows
                  it was composed of do not count)
    top 10, 100   how often the true row is among those
    cosine        of composed and true row, on average
    neighbours    share of the true row's ten nearest that are among the composed row's ten nearest
    length        of the composed row in parts of the true one's: a mean is shorter than its terms

    seconds       to make the rows, those to read the text left out

Chance compares each true row with the composed row of another piece. Whole words and pieces inside
words are hidden in runs of their own.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping

import numpy as np
from absl import flags
from rich.table import Table

from bert_jax.analysis.nearest import directions
from bert_jax.analysis.token_rows import TokenRows
from bert_jax.arguments import MOST_SEED
from bert_jax.cli import command
from bert_jax.console import plain_console
from bert_jax.data.sources import open_source
from bert_jax.errors import UserError
from bert_jax.tables.context_vectors import context_vectors
from bert_jax.tables.row_rules import RowRule, SpelledMean, SpellingRegression
from bert_jax.tables.storage import load_tables
from bert_jax.tables.vocabulary_surgery import NewRows, length_weights, move_vocabulary
from bert_jax.text.spelling import Speller
from bert_jax.text.tokenizer import Tokenizer

from . import row_rivals
from .row_rivals import Puzzle

_INPUT = flags.DEFINE_string("input", None, "A trained model or its tables.", required=True)
_HIDDEN = flags.DEFINE_integer("hidden", 2000, "How many tokens to hide.", lower_bound=10)
_SHORTEST = flags.DEFINE_integer("shortest", 4, "Fewest letters of a hidden token.", lower_bound=1)
_TEXT = flags.DEFINE_list("text", [], "Files or folders of text, for methods that need some.")
_RIVALS = flags.DEFINE_bool("rivals", False, "Also run the methods that were not adopted.")
_SEED = flags.DEFINE_integer("seed", 0, "Random seed that chooses the hidden tokens.", 0, MOST_SEED)


@dataclasses.dataclass(frozen=True)
class Likeness:
    """How like their true rows composed ones are; see above."""

    median_rank: float
    top_10: float
    top_100: float
    cosine: float
    neighbours: float
    length: float


def main() -> None:
    """Hide, compose, compare, print."""
    tables = load_tables(_INPUT.value or "")
    tokenizer = tables.tokenizer
    if tokenizer is None:
        raise UserError(f"got {_INPUT.value} without a vocabulary; expected a model that has one")
    contexts, count = None, None
    if _TEXT.value:
        texts = [tokenizer.piece_ids(text.whole_text) for text in open_source(_TEXT.value)]
        contexts = context_vectors(tokenizer, texts)
        count = np.bincount(np.concatenate(texts), minlength=tokenizer.vocab_size)
    title = f"Composed rows of {_INPUT.value}, seed {_SEED.value}"
    shown = Table(title=title, title_justify="left")
    for heading in ("hidden", "by", "rank", "top 10", "top 100", "cosine", "near", "length", "s"):
        shown.add_column(heading)
    for inside in (False, True):
        less, made_of = _hide(tokenizer, inside)
        hidden = tuple(tokenizer.pieces[i] for i in made_of)
        puzzle = Puzzle(move_vocabulary(tables, less).tables, tokenizer, hidden, contexts, count)
        for name, way in _ways(puzzle).items():
            start = time.perf_counter()
            composed = way(puzzle)
            seconds = time.perf_counter() - start
            found = likeness(TokenRows(tables), made_of, composed)
            shown.add_row(
                f"{len(hidden):,} {'inside' if inside else 'words'}", name,
                f"{found.median_rank:,.0f}", f"{found.top_10:.1%}", f"{found.top_100:.1%}",
                f"{found.cosine:.2f}", f"{found.neighbours:.1%}", f"{found.length:.2f}",
                f"{seconds:.0f}",
            )  # fmt: skip
    plain_console().print(shown)


def _ways(puzzle: Puzzle) -> dict[str, Callable[[Puzzle], np.ndarray]]:
    """Ways to compose, by name: all that can be with what there is."""
    by_length = SpelledMean(length_weights(puzzle.less))
    ways = {"mean": _by(SpelledMean()), "mean by length": _by(by_length)}
    ways["chance"] = lambda puzzle: np.roll(ways["mean"](puzzle), 1, axis=0)
    if _RIVALS.value:
        ways["ridge: strings"] = row_rivals.ridge_of_strings
        ways["ridge: strings, parts"] = row_rivals.ridge_of_spellings
    ways["regression"] = _by(SpellingRegression())
    if puzzle.contexts is not None:
        if _RIVALS.value:
            ways["mean by length, rarity"] = row_rivals.mean_by_rarity
            ways["FOCUS"] = row_rivals.focus
            ways["ridge: contexts"] = row_rivals.ridge_of_contexts
            ways["ridge: all of these"] = row_rivals.ridge_of_everything
        ways["regression, contexts"] = _by(SpellingRegression(puzzle.contexts))
    return ways


def _by(rule: RowRule) -> Callable[[Puzzle], np.ndarray]:
    return lambda puzzle: puzzle.moved(NewRows(rule))


def likeness(
    rows: TokenRows, made_of: Mapping[int, tuple[int, ...]], composed: np.ndarray
) -> Likeness:
    """Compare composed rows with the true ones.

    Args:
        rows: V of them, the true ones.
        made_of: the ids of the H hidden pieces, and those of the pieces that spell each.
        composed: [H, D].
    """
    hidden, each = np.array(list(made_of)), np.arange(len(made_of))
    true, guesses = directions(rows.table, rows.centre), directions(composed, rows.centre)
    to_guess, to_truth = guesses @ true.T, true[hidden] @ true.T
    own = to_guess[each, hidden]
    for i, (piece, parts) in enumerate(made_of.items()):
        to_guess[i, [piece, *parts]] = to_truth[i, [piece, *parts]] = -2
    ranks = 1 + (to_guess > own[:, None]).sum(axis=1)
    ten = (np.argpartition(-near, 10, axis=1)[:, :10] for near in (to_truth, to_guess))
    shared = [len(set(a) & set(b)) for a, b in zip(*ten, strict=True)]
    lengths = np.linalg.norm(composed, axis=1) / np.linalg.norm(rows.table[hidden], axis=1)
    return Likeness(
        float(np.median(ranks)),
        float(np.mean(ranks <= 10)),
        float(np.mean(ranks <= 100)),
        float(np.mean(own)),
        float(np.mean(shared)) / 10,
        float(np.median(lengths)),
    )


def _hide(tokenizer: Tokenizer, inside: bool) -> tuple[Tokenizer, dict[int, tuple[int, ...]]]:
    """A vocabulary without some pieces, and how it spells them, in ids of the full one.

    Only pieces that it spells with two others or more are listed.
    """
    able = [
        i
        for i, piece in enumerate(tokenizer.pieces)
        if bool(tokenizer.is_continuation[i]) == inside
        and piece.removeprefix("##").isalpha()
        and len(piece.removeprefix("##")) >= (_SHORTEST.value or 1)
    ]
    draw = np.random.default_rng(_SEED.value)
    size = min(_HIDDEN.value or 0, len(able) // 2)
    gone = set(draw.choice(able, size=size, replace=False).tolist())
    less = tokenizer.with_pieces([p for i, p in enumerate(tokenizer.pieces) if i not in gone])
    speller, made_of = Speller(less), {}
    for i in sorted(gone):
        parts = speller.spell(tokenizer.pieces[i])
        if len(parts) > 1:
            made_of[i] = tuple(tokenizer.id_of(less.pieces[part]) for part in parts)
    return less, made_of


if __name__ == "__main__":
    command.run(main)
