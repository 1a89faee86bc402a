import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.tables.word2vec import escape, put_words, read_word2vec, save_word2vec, unescape
from tests.tables.examples import PIECES, small_tables, tables_of, vocabulary


def test_the_file_is_what_word2vec_writes(tmp_path):
    tables = tables_of(vocabulary(["a b", "##é"]), width=2)
    tables.token[5:] = [[0.1, -2], [1e-9, 3.25]]
    save_word2vec(tables, tmp_path / "t.vec")
    lines = (tmp_path / "t.vec").read_bytes().split(b"\n")
    assert lines[0] == b"7 2"
    assert lines[6:] == [rb"a\u{20}b 0.100000001 -2", "##é 9.99999972e-10 3.25".encode(), b""]


@given(st.text())
def test_escaping_is_undone_and_leaves_one_word(piece):
    word = escape(piece)
    assert unescape(word) == piece
    assert word.split() == [word] == word.split(" ") == word.splitlines()


@given(st.lists(st.text("\\u{}5c20 "), unique=True))
def test_no_two_pieces_are_written_alike(pieces):
    assert len(set(map(escape, pieces))) == len(pieces)


@settings(max_examples=25, deadline=None)
@given(st.lists(PIECES, unique=True, max_size=8), st.integers(0, 2**32 - 1))
def test_pieces_and_rows_come_back_exactly(tmp_path_factory, pieces, bits):
    tables = tables_of(vocabulary(pieces), width=3)
    value = np.array([bits], np.uint32).view(np.float32)[0]
    if np.isfinite(value):
        tables.token[0, 0] = value
    path = tmp_path_factory.mktemp("w2v") / "t.vec"
    save_word2vec(tables, path)
    found = read_word2vec(path)
    assert found.pieces == tables.tokenizer.pieces
    np.testing.assert_array_equal(found.table.view(np.uint32), tables.token.view(np.uint32))


def test_glove_has_no_first_line_and_words_with_blanks(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_bytes(b"the 0.5 -1 2\nat name@x.com 1 1 1\n. . . 3 4 5\nthe 9 9 9\n")
    words = read_word2vec(path)
    assert words.pieces == ("the", "at name@x.com", ". . .", "the")
    assert words.table[:3].tolist() == [[0.5, -1, 2], [1, 1, 1], [3, 4, 5]]
    tokenizer = vocabulary(["##the", "the", "a"])
    table = np.zeros((tokenizer.vocab_size, 3), np.float32)
    new = put_words(table, tokenizer, words)
    assert new[tokenizer.id_of("the")].tolist() == [0.5, -1, 2]  # the first of two rows
    assert np.count_nonzero(new.any(1)) == 1 and not table.any()


def test_mistakes_are_named(tmp_path):
    save_word2vec(small_tables(), tmp_path / "t.vec")
    lines = (tmp_path / "t.vec").read_text().splitlines(keepends=True)
    for content, message in {
        "".join(lines[:-1]): "got 208 rows in .*; expected the 209 it announces",
        "".join([*lines[:9], "word 1 2\n", *lines[10:]]): "whose line 10 is not in word2vec's",
        "".join([*lines, lines[5]]): "whose line 211 is not",
        "": r"whose line 1 is not in word2vec's text format \(it is empty\)",
        "a 1 2\nb 1\n": "whose line 2 is not",
        "a 1 2\nb 1 nan\n": r"line 2 is not in .* \(2 numbers, expected 2 finite ones\)",
        "a 1 2\nb 1 2 3\n": None,  # a word with a blank
        "word\n": "whose line 1 is not",
        "[1, 2]\n": "whose line 1 is not",
    }.items():
        (tmp_path / "wrong.vec").write_text(content)
        if message is None:
            assert read_word2vec(tmp_path / "wrong.vec").pieces == ("a", "b 1")
            continue
        with pytest.raises(UserError, match=message):
            read_word2vec(tmp_path / "wrong.vec")
    with pytest.raises(UserError, match="which cannot be read"):
        read_word2vec(tmp_path / "nowhere.vec")
