import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.text.spelling import Speller
from bert_jax.text.tokenizer import SPECIAL_PIECES, Tokenizer
from tests.text.vocabulary import small_tokenizer


def spelled(speller, tokenizer, piece):
    return [tokenizer.pieces[i] for i in speller.spell(piece)]


@pytest.mark.parametrize(
    ("piece", "pieces"),
    [
        ("playing", ["play", "##ing"]),
        ("##ing", ["##ing"]),
        ("##ingin", ["##ing", "##in"]),  # not: ing…, in
        ("##in", ["##in"]),
        ("in", ["in"]),
        ("##pl", []),  # only begins words here
        ("Playing", ["play", "##ing"]),  # the vocabulary is uncased
        ("##ÍN", ["##in"]),
        ("q", []),
        ("playq", []),
        ("play-in", ["play", "-", "in"]),
        ("##ing-play", ["##ing", "-", "play"]),  # after the hyphen a word begins
        ("##-in", ["-", "in"]),
        ("##中", ["中"]),  # every Chinese character is a word
        ("[MASK]", []),
        ("[unused7]", []),
        ("##\u0301", []),  # an accent: stripped, nothing is left
        ("##", []),
        ("", []),
        ("##" + "in" * 60, []),  # of words this long the tokenizer makes [UNK] too
    ],
)  # fmt: skip
def test_a_piece_is_spelled_as_it_would_stand_in_text(piece, pieces):
    vocabulary = [*SPECIAL_PIECES, "play", "##ing", "##in", "##g", "in", "-", "中", "pl", "##n"]
    tokenizer = Tokenizer(vocabulary)
    assert spelled(Speller(tokenizer), tokenizer, piece) == pieces


SMALL = small_tokenizer()
# "ж" begins no longer piece, so what follows it in a word is cut as a continuation.
LIBRARY = Tokenizer([*SMALL.pieces, "ж"])


@given(st.text("stingedABé0", min_size=1, max_size=12))
def test_continuations_are_cut_as_the_library_cuts_them(rest):
    expected = [LIBRARY.pieces[i] for i in LIBRARY.piece_ids("ж" + rest)][1:]
    assert spelled(Speller(LIBRARY), LIBRARY, "##" + rest) == expected
