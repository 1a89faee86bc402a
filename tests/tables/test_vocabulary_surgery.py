import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.tables.row_rules import SpelledMean
from bert_jax.tables.vocabulary_surgery import (
    NewRows,
    length_weights,
    move_vocabulary,
    with_added_pieces,
    with_size,
)  # fmt: skip
from bert_jax.text.tokenizer import SPECIAL_PIECES, Tokenizer
from tests.tables.examples import PIECES, assert_same_tables, tables_of, vocabulary

# Pieces over two letters, so that vocabularies share and spell each other's; and any others.
OVERLAPPING = st.one_of(st.text("ab", min_size=1, max_size=4), PIECES).flatmap(
    lambda piece: st.sampled_from([piece, f"##{piece}"])
)
VOCABULARIES = st.lists(OVERLAPPING, unique=True, max_size=12)
FALLBACKS = st.sampled_from(["mean", "draw"])


def test_rows_are_copied_composed_or_fall_back():
    old = vocabulary(["nd", "##ar", "##ray", "a", "gone"])
    tables = tables_of(old)
    tables.token[5:8] = [[1, 2, 3, 4], [4, 4, 4, 4], [1, 0, -1, -5]]
    new = vocabulary(["a", "ndarray", "##array", "ж"])
    moved, report = (r := move_vocabulary(tables, new)).tables, r.report
    np.testing.assert_array_equal(moved.token[:5], tables.token[:5])
    np.testing.assert_array_equal(moved.token[5], tables.token[8])
    np.testing.assert_array_equal(moved.token[6], [2, 2, 2, 1])
    np.testing.assert_array_equal(moved.token[7], [2.5, 2, 1.5, -0.5])
    np.testing.assert_allclose(moved.token[8], tables.token[5:].mean(axis=0), rtol=1e-6)
    assert moved.tokenizer is new
    assert report.copied == (*SPECIAL_PIECES, "a")
    assert report.composed == {"ndarray": ("nd", "##ar", "##ray"), "##array": ("##ar", "##ray")}
    assert report.unspellable == ("ж",)
    assert report.dropped == ("nd", "##ar", "##ray", "gone")
    assert report.rows() == {
        "pieces": "10 → 9",
        "copied": "6 (66.7%)",
        "composed": "2 (22.2%): ndarray ← nd ##ar ##ray; ##array ← ##ar ##ray …",
        "not spelled, got the mean row": "1 (11.1%): ж …",
        "dropped": "4",
        "composed by": "the mean of the pieces that spell it; 5 old pieces are too few for more",
    }
    for name in ("segment", "position", "norm_scale", "norm_bias"):
        assert getattr(moved, name) is getattr(tables, name)


def test_weights():
    old = vocabulary(["nd", "##array"])
    tables = tables_of(old)
    tables.token[5:] = [[7, 0, 0, 0], [0, 14, 0, 7]]
    new = with_added_pieces(old, ["ndarray"])
    assert length_weights(old).tolist() == [5, 5, 5, 5, 6, 2, 5]

    def composed(weights):
        return move_vocabulary(tables, new, NewRows(SpelledMean(weights))).tables.token[7].tolist()

    assert composed(length_weights(old)) == [2, 10, 0, 5]
    assert composed(np.array([0, 0, 0, 0, 0, 1, 0])) == [7, 0, 0, 0]
    assert composed(np.zeros(7)) == composed(None) == [3.5, 7, 0, 3.5]
    for wrong in (np.ones(6), np.full(7, -1), np.full(7, np.nan)):
        with pytest.raises(UserError, match="a number of at least 0 for each of the 7 old pieces"):
            composed(wrong)


@settings(deadline=None)
@given(VOCABULARIES, FALLBACKS)
def test_the_same_vocabulary_is_the_identity(pieces, fallback):
    tables = tables_of(vocabulary(pieces))
    tables.token[0, 0] = -0.0
    moved = move_vocabulary(tables, vocabulary(pieces), NewRows(fallback=fallback))
    assert_same_tables(moved.tables, tables)
    assert moved.report.copied == tables.tokenizer.pieces
    assert not (moved.report.composed or moved.report.unspellable or moved.report.dropped)


@settings(deadline=None)
@given(VOCABULARIES, VOCABULARIES, FALLBACKS)
def test_to_a_superset_and_back_is_the_identity(pieces, more, fallback):
    tables = tables_of(vocabulary(pieces))
    superset = vocabulary(dict.fromkeys([*reversed(pieces), *more]))
    there = move_vocabulary(tables, superset, NewRows(fallback=fallback))
    back = move_vocabulary(there.tables, tables.tokenizer)
    assert_same_tables(back.tables, tables)
    assert not there.report.dropped
    assert set(back.report.dropped) == set(more) - set(pieces)


@settings(deadline=None)
@given(VOCABULARIES, VOCABULARIES, FALLBACKS, st.randoms(use_true_random=False))
def test_the_order_of_pieces_is_irrelevant(pieces, wanted, fallback, shuffler: random.Random):
    """Bit for bit: a row depends on its piece, the old rows by piece, and the seed."""
    tables = tables_of(vocabulary(pieces))
    order = shuffler.sample(range(tables.tokenizer.vocab_size), tables.tokenizer.vocab_size)
    shuffled = tables.replace(
        token=tables.token[order], tokenizer=Tokenizer([tables.tokenizer.pieces[i] for i in order])
    )
    new = vocabulary(wanted)
    other = Tokenizer(shuffler.sample(new.pieces, new.vocab_size))
    one = move_vocabulary(tables, new, NewRows(fallback=fallback))
    two = move_vocabulary(shuffled, other, NewRows(fallback=fallback))
    rows = {piece: row.tobytes() for piece, row in zip(other.pieces, two.tables.token, strict=True)}
    for piece, row in zip(new.pieces, one.tables.token, strict=True):
        assert rows[piece] == row.tobytes(), piece
    assert one.report.composed == two.report.composed
    assert set(one.report.dropped) == set(two.report.dropped)


def test_draws_have_the_tables_moments_and_depend_on_piece_and_seed_only():
    tables = tables_of(vocabulary(map(str, range(2000))), width=2)
    tables = tables.replace(token=tables.token * [0.5, 2] + [1, -3])
    new = with_size(tables.tokenizer, 4005)

    def drawn(vocabulary, seed):
        how = NewRows(fallback="draw", seed=seed)
        return move_vocabulary(tables, vocabulary, how).tables.token[2005:]

    rows = drawn(new, seed=1)
    np.testing.assert_allclose(rows.mean(axis=0), [1, -3], atol=0.15)
    np.testing.assert_allclose(rows.std(axis=0), [0.5, 2], rtol=0.1)
    np.testing.assert_array_equal(drawn(with_size(tables.tokenizer, 2015), seed=1), rows[:10])
    assert len(np.unique(rows[:, 0])) == 2000
    assert (drawn(new, seed=2) != rows).all()


def test_added_pieces_must_be_what_text_is_cut_into():
    tokenizer = vocabulary(["new", "york", "x"])
    added = with_added_pieces(tokenizer, ["covid", "##ine", "[ENT]", "中"])
    assert added.pieces == (*tokenizer.pieces, "covid", "##ine", "[ENT]", "中")
    assert added.encode("Covid xine").tokens == ["[CLS]", "covid", "x", "##ine", "[SEP]"]
    for piece, message in {
        "york": "which already exists",
        "new york": "it is tokenised as new york; expected one word",
        "Paris": "it is tokenised as paris",
        "é": "it is tokenised as e",
        "##-": "it is tokenised as -",
        "": "it is tokenised as nothing",
        "##": "which text is never split into",
    }.items():
        with pytest.raises(UserError, match=message):
            with_added_pieces(with_added_pieces(tokenizer, ["paris", "e", "-"]), [piece])


def test_resizing_cuts_or_adds_unused_pieces():
    tokenizer = vocabulary(["a", "[unused1]", "b"], lowercase=False)
    assert with_size(tokenizer, 6).pieces == (*SPECIAL_PIECES, "a")
    longer = with_size(tokenizer, 10)
    assert longer.pieces == (*tokenizer.pieces, "[unused0]", "[unused2]")
    assert longer.lowercase is False
    for size in (-3, 0, 4):
        with pytest.raises(UserError, match=f"got a size of {size} pieces, .* expected at least 5"):
            with_size(tokenizer, size)


def test_rows_without_a_piece_are_dropped_and_said():
    tables = tables_of(vocabulary(["a", "b"]))
    padded = tables.replace(token=np.concatenate([tables.token, np.full((3, 4), 9)]))
    moved = move_vocabulary(padded, tables.tokenizer)
    assert_same_tables(moved.tables, tables)
    assert moved.report.nameless == 3
    assert moved.report.rows()["rows without a piece, dropped"] == "3"
    lost = move_vocabulary(padded, vocabulary(["ж"]))
    np.testing.assert_allclose(lost.tables.token[5], tables.token[5:].mean(axis=0), rtol=1e-6)


def test_tables_without_a_vocabulary_cannot_move():
    tables = tables_of(vocabulary([])).replace(tokenizer=None)
    with pytest.raises(UserError, match="without a vocabulary; expected tables that say"):
        move_vocabulary(tables, vocabulary([]))
