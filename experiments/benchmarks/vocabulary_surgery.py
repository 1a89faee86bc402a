r"""How good are composed rows? Hide trained pieces, compose their rows, and compare.

    python -m experiments.benchmarks.vocabulary_surgery --input=MODEL

From the vocabulary of a trained model some pieces are taken away; then the tables are moved back
to the full vocabulary, so that every hidden piece gets a row composed of the pieces that spell it
without it. Its true row is known. For each way of composing:

    median rank   of the true row among all rows, nearest to the composed one first (cosine
                  about the mean of all rows but special and unused ones, as everywhere; the rows
                  it was composed of do not count)
    top 10, 100   how often the true row is among those
    cosine        of composed and true row, on average
    neighbours    share of the true row's ten nearest that are among the composed row's ten nearest
    length        of the composed row in parts of the true one's: a mean is shorter than its terms

The third line compares each true row with the composed row of another piece: chance. Whole words
and pieces inside words are hidden in runs of their own. 30,522 x 384: 18 s of processor time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table

from bert_jax.analysis.nearest import directions
from bert_jax.analysis.token_rows import TokenRows
from bert_jax.cli import command
from bert_jax.errors import UserError
from bert_jax.tables.row_rules import SpelledMean
from bert_jax.tables.storage import load_tables
from bert_jax.tables.vocabulary_surgery import NewRows, length_weights, move_vocabulary
from bert_jax.text.spelling import Speller
from bert_jax.text.tokenizer import Tokenizer

_INPUT = flags.DEFINE_string("input", None, "A trained model or its tables.", required=True)
_HIDDEN = flags.DEFINE_integer("hidden", 2000, "Pieces to hide.", lower_bound=10)
_SHORTEST = flags.DEFINE_integer("shortest", 4, "Letters of a hidden piece.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Of the choice.", lower_bound=0)


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
    shown = Table(title=f"Composed rows of {_INPUT.value}", title_justify="left")
    for heading in ("hidden", "by", "rank", "top 10", "top 100", "cosine", "near", "length"):
        shown.add_column(heading)
    for inside in (False, True):
        less, made_of = _hide(tokenizer, inside)
        hidden = np.array(list(made_of))
        smaller = move_vocabulary(tables, less).tables
        rows = {}
        for name, weights in {"equal": None, "length": length_weights(less)}.items():
            moved = move_vocabulary(smaller, tokenizer, NewRows(SpelledMean(weights)))
            rows[name] = moved.tables.token[hidden]
        rows["chance"] = np.roll(rows["equal"], 1, axis=0)
        for name, composed in rows.items():
            found = likeness(TokenRows(tables), made_of, composed)
            shown.add_row(
                f"{len(hidden):,} {'inside' if inside else 'words'}", name,
                f"{found.median_rank:,.0f}", f"{found.top_10:.1%}", f"{found.top_100:.1%}",
                f"{found.cosine:.2f}", f"{found.neighbours:.1%}", f"{found.length:.2f}",
            )  # fmt: skip
    Console().print(shown)


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
    less = Tokenizer(
        [piece for i, piece in enumerate(tokenizer.pieces) if i not in gone],
        tokenizer.lowercase, tokenizer.strip_accents, tokenizer.split_chinese,
    )  # fmt: skip
    speller, made_of = Speller(less), {}
    for i in sorted(gone):
        parts = speller.spell(tokenizer.pieces[i])
        if len(parts) > 1:
            made_of[i] = tuple(tokenizer.id_of(less.pieces[part]) for part in parts)
    return less, made_of


if __name__ == "__main__":
    command.run(main)
