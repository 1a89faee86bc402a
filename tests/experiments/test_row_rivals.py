"""What the regression was compared with does what its papers say, and fits a puzzle."""

import numpy as np
import pytest

from bert_jax.tables.context_vectors import context_vectors
from bert_jax.tables.vocabulary_surgery import move_vocabulary
from experiments.benchmarks import row_rivals
from experiments.benchmarks.row_rivals import Puzzle, sparsemax, spelled_by_others
from tests.tables.examples import tables_of, vocabulary

PIECES = [*"abcd", *(f"##{x}" for x in "abcd"), "abc", "bcd", "##cd", "dab", "cab", "abcd", "bab"]
WAYS = (
    row_rivals.mean_by_rarity, row_rivals.focus, row_rivals.ridge_of_contexts,
    row_rivals.ridge_of_strings, row_rivals.ridge_of_spellings, row_rivals.ridge_of_everything,
)  # fmt: skip


def test_sparsemax_is_the_nearest_distribution():
    found = sparsemax(np.array([[0.5, 0.2, 0.1], [3, 1, 0], [0.25, 0.25, -9], [0, 0, 0]]))
    expected = [[17 / 30, 8 / 30, 5 / 30], [1, 0, 0], [0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3]]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_piece_is_spelled_by_others():
    known = {piece: i for i, piece in enumerate(["a", "ab", "##b", "##cd", "abcd", "##bcd"])}
    assert spelled_by_others("abcd", known) == [1, 3]
    assert spelled_by_others("##bcd", known) == [2, 3]
    assert spelled_by_others("ab", known) == [0, 2]
    assert spelled_by_others("a", known) == []


@pytest.mark.parametrize("way", WAYS)
def test_every_rival_makes_rows_of_kept_ones(way, monkeypatch):
    monkeypatch.setattr(row_rivals, "_BUCKETS", 32)
    full = vocabulary(PIECES)
    tables = tables_of(full)
    less = vocabulary(piece for piece in PIECES if piece not in ("abcd", "bab"))
    texts = [full.piece_ids("a b abc bcd dab abcd bab cab d c abab cabd")] * 8
    count = np.bincount(np.concatenate(texts), minlength=full.vocab_size)
    smaller = move_vocabulary(tables, less).tables
    contexts = context_vectors(full, texts)
    rows = way(Puzzle(smaller, full, ("abcd", "bab"), contexts, count))
    assert rows.shape == (2, 4)
    kept = smaller.token[5:]
    assert (np.linalg.norm(rows, axis=1) <= 2 * np.linalg.norm(kept, axis=1).max()).all()
    assert not np.allclose(rows[0], rows[1])
