"""Added tokens: found in a text before it is split, wherever the text goes."""

import json
import pickle

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax import Tokenizer
from bert_jax.data.corpus import Corpus, build_corpus
from bert_jax.data.document import Document
from bert_jax.errors import UserError
from bert_jax.tables.vocabulary_surgery import with_added_pieces
from bert_jax.text.added_tokens import AddedToken
from bert_jax.text.vocabulary_record import tokenizer_from_record, vocabulary_record
from tests.text.vocabulary import small_pieces, small_tokenizer

PIECES = tuple(dict.fromkeys(small_pieces()))
V = len(PIECES)


def with_added(*tokens, **settings):
    return Tokenizer([*PIECES, *(token.content for token in tokens)], added=tokens, **settings)


ENT = with_added(AddedToken("[ENT]"))


def test_it_is_one_piece_whatever_stands_round_it():
    assert ENT.encode("cats[ENT]s").tokens[1:-1] == ["cats", "[ENT]", "s"]
    assert ENT.encode("cats[ENT]s").ids[2] == V
    assert ENT.encode("cats[ENT]s").offsets[2] == (4, 9)
    assert ENT.encode("[ent]").ids[1:-1] == [V]  # in an uncased vocabulary
    exact = with_added(AddedToken("[ENT]", normalized=False))
    assert exact.encode("[ent]").tokens[1] == "["
    assert exact.encode("[ENT] [MASK]").tokens[1:3] == ["[ENT]", "["]
    assert exact.encode("[ENT] [MASK]", special_pieces_in_text=True).tokens[1:-1] == [
        "[ENT]", "[MASK]"
    ]  # fmt: skip


def test_the_leftmost_and_then_the_longest_is_taken():
    found = with_added(AddedToken("ab"), AddedToken("abc"), AddedToken("bcd"))
    assert found.encode("abcd").tokens[1:-1] == ["abc", "d"]
    assert found.encode("xabd").tokens[1:-1] == ["x", "ab", "d"]


def test_a_single_word_is_not_found_inside_one():
    found = with_added(AddedToken("cat", single_word=True))
    assert found.encode("cat, tomcat cat").ids[1] == V
    assert found.encode("cats").tokens[1:-1] == ["cats"]
    assert V not in found.encode("tomcat").ids


def test_only_what_is_a_piece_too_is_cut_out_of_words():
    """As in a `tokenizer.json`, where `model.vocab` has the one and not the other."""
    token = AddedToken("dogsx", single_word=True)
    assert V not in with_added(token).encode("dogsxy").ids
    as_piece = AddedToken("dogsx", single_word=True, is_piece=True)
    assert with_added(as_piece).encode("dogsxy").ids[1] == V


def test_it_survives_records_and_processes():
    for again in (
        pickle.loads(pickle.dumps(ENT)),
        tokenizer_from_record(json.loads(json.dumps(vocabulary_record(ENT))), "here"),
    ):
        assert again.__reduce__() == ENT.__reduce__()
    assert "added" not in vocabulary_record(small_tokenizer())


@pytest.mark.parametrize("token", [AddedToken("[ENT]"), AddedToken("new york", special=True)])
def test_it_survives_its_files(tmp_path, token):
    before = with_added(token, lowercase=False)
    before.save_pretrained(tmp_path)
    assert Tokenizer.from_pretrained(tmp_path).__reduce__() == before.__reduce__()
    assert Tokenizer.from_pretrained(tmp_path / "tokenizer.json").added == (token,)
    (from_vocab,) = Tokenizer.from_pretrained(tmp_path / "vocab.txt").added
    assert from_vocab.content == token.content
    library = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    text = f"I like {token.content}."
    assert library.encode(text).ids == before.encode(text).ids


def test_what_is_special_is_left_out_of_text():
    found = with_added(AddedToken("[A]", special=True), AddedToken("[B]"), lowercase=False)
    ids = found.encode("the [A] [B] dogs").ids
    assert found.decode(ids) == "the [B] dogs"
    assert found.decode(ids, skip_special_tokens=False) == "[CLS] the [A] [B] dogs [SEP]"


def test_it_reaches_the_pieces_of_a_corpus(tmp_path):
    documents = [
        Document(str(i), f"The [ENT] number {i} likes dogs.\nNew York has [ent]s.")
        for i in range(20)
    ]
    found = with_added(AddedToken("[ENT]"), AddedToken("new york"))
    build_corpus(documents, found, tmp_path / "corpus")
    corpus = Corpus.open(tmp_path / "corpus")
    assert corpus.tokenizer.__reduce__() == found.__reduce__()
    both = [*corpus.train.pieces.tolist(), *corpus.heldout.pieces.tolist()]
    assert (both.count(V), both.count(V + 1)) == (40, 20)


def test_names_in_brackets_that_are_added_become_added_tokens():
    added = with_added_pieces(small_tokenizer(), ["[ENT]", "covid", "##vy"])
    assert [token.content for token in added.added] == ["[ENT]"]
    assert added.encode("the [ENT] covidvy").ids[1:-1] == [PIECES.index("the"), V, V + 1, V + 2]
    # A second one leaves the first as it is.
    twice = with_added_pieces(added, ["[OTHER]"])
    assert twice.encode("[ENT][OTHER]").ids[1:-1] == [V, V + 3]


TEXT = st.text(alphabet="[ENT]entab \t\x0b\x1c\x85cséE中\u0301.", max_size=30)
FLAG = st.booleans()
TOKENS = st.lists(
    st.builds(
        AddedToken,
        st.sampled_from(["[ENT]", "ab", "b", "é", "中", "a b", "E", "[", "t]e"]),
        FLAG, FLAG, FLAG, FLAG, FLAG,
    ),
    unique_by=lambda token: token.content, max_size=4,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(TOKENS, TEXT, FLAG)
def test_the_fast_way_gives_the_same_pieces(tokens, text, lowercase):
    pieces = [*PIECES, *(t.content for t in tokens if t.content not in PIECES)]
    tokens = [AddedToken(**{**vars(t), "is_piece": t.content in PIECES}) for t in tokens]
    found = Tokenizer(pieces, lowercase, added=tokens)
    assert found.piece_ids(text).tolist() == found.encode(text).ids[1:-1]


def test_mistakes_are_one_line():
    with pytest.raises(UserError, match=r"got the added token '\[X\]', which is none of the"):
        Tokenizer(PIECES, added=[AddedToken("[X]")])
