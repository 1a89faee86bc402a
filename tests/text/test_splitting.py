"""Text that is cut already: pieces between spaces, or what a regular expression matches."""

import json
import pickle
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax import PretrainingSettings, Tokenizer
from bert_jax.data.corpus import Corpus, build_corpus
from bert_jax.data.document import Document
from bert_jax.errors import UserError
from bert_jax.tables.vocabulary_surgery import with_added_pieces
from bert_jax.text.spelling import Speller
from bert_jax.text.splitting import splitting_of
from bert_jax.text.tokenizer import SPECIAL_PIECES
from bert_jax.text.vocabulary_record import tokenizer_from_record, vocabulary_record
from bert_jax.text.word_counts import (
    WordCounts,
    WordSettings,
    count_words,
    count_words_in_files,
)
from bert_jax.text.wordpiece_learner import learn_vocabulary

ATOMS = r"\[[^\]]+]|Br?|Cl?|[NOSnosc]|[()=#]|\d|>>"
PARTS = ("C", "Cl", "Br", "O", "(", ")", "=", "[nH]", "##C", "c")
SPACED = Tokenizer([*SPECIAL_PIECES, *PARTS], splitting="spaces")
MATCHED = Tokenizer([*SPECIAL_PIECES, *PARTS], splitting=ATOMS)


def test_parts_are_pieces_as_they_are_written():
    found = SPACED.encode("C Cl\tCCl  ##C\nc Ć")
    assert found.tokens[1:-1] == ["C", "Cl", "[UNK]", "##C", "c", "[UNK]"]
    assert found.offsets[1:4] == [(0, 1), (2, 4), (5, 8)]
    assert MATCHED.encode("CCl(=O)c[nH]").tokens[1:-1] == [
        "C", "Cl", "(", "=", "O", ")", "c", "[nH]"
    ]  # fmt: skip
    assert MATCHED.encode("ClxC C").tokens[1:-1] == ["Cl", "C", "C"]  # x: nothing matches
    assert not SPACED.is_continuation.any() and not SPACED.lowercase


def test_special_pieces_are_text_unless_asked_for():
    for tokenizer, text in ((SPACED, "C [MASK] O"), (MATCHED, "C[MASK]O")):
        assert tokenizer.encode(text).tokens[1:-1] == ["C", "[UNK]", "O"]
        special = tokenizer.encode(text, special_pieces_in_text=True)
        assert special.tokens[1:-1] == ["C", "[MASK]", "O"]
    ids = [SPACED.id_of(piece) for piece in ("C", "[MASK]", "O")]
    assert SPACED.decode(ids) == "C O" and SPACED.decode(ids, False) == "C [MASK] O"
    assert MATCHED.decode(ids) == "CO" and MATCHED.decode(ids, False) == "C[MASK]O"


def test_it_goes_where_the_vocabulary_goes(tmp_path):
    for before in (SPACED, MATCHED):
        before.save_pretrained(tmp_path / before.splitting.name[:3])
        for again in (
            pickle.loads(pickle.dumps(before)),
            tokenizer_from_record(json.loads(json.dumps(vocabulary_record(before))), "here"),
            Tokenizer.from_pretrained(tmp_path / before.splitting.name[:3]),
        ):
            assert again.__reduce__() == before.__reduce__()
    assert "splitting" not in vocabulary_record(Tokenizer(SPECIAL_PIECES))


def test_a_vocabulary_alone_is_told_how_text_is_split(tmp_path):
    SPACED.save(tmp_path / "vocab.txt")
    for found in (
        Tokenizer.from_pretrained(tmp_path, splitting="spaces"),
        Tokenizer.from_file(tmp_path / "vocab.txt", splitting="spaces"),
    ):
        assert found.__reduce__() == SPACED.__reduce__()
    SPACED.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"got splitting='\\\\S' for .*says 'spaces'"):
        Tokenizer.from_pretrained(tmp_path, splitting=r"\S")


TEXT = st.text(alphabet="CclBrO()=[]nH# \t\n\x0b\x1c\x85\u2028é", max_size=40)


@settings(max_examples=200, deadline=None)
@given(TEXT)
def test_matches_are_those_of_python(text):
    found = MATCHED.encode(text)
    assert [text[start:end] for start, end in found.offsets[1:-1]] == re.findall(ATOMS, text)
    assert found.ids[1:-1] == [
        MATCHED.id_of(part) if part in PARTS else MATCHED.unk_id for part in re.findall(ATOMS, text)
    ]
    for tokenizer in (MATCHED, SPACED):
        assert tokenizer.piece_ids(text).tolist() == tokenizer.encode(text).ids[1:-1]


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXT, max_size=5), st.sampled_from([ATOMS, "spaces"]))
def test_what_is_counted_is_what_is_encoded(texts, name):
    counts = count_words(texts, WordSettings(splitting=splitting_of(name)))
    every = Tokenizer([*SPECIAL_PIECES, *counts.words], splitting=name)
    lines = [line for text in texts for line in text.split("\n")]
    pieces = Counter(every.pieces[i] for line in lines for i in every.piece_ids(line))
    assert pieces == Counter(dict(zip(counts.words, counts.counts.tolist(), strict=True)))


def test_counts_of_files_are_those_of_texts_and_are_kept(tmp_path):
    texts = ["C  Cl C", "Br\tCl long" + "x" * 200]
    how = WordSettings(splitting=splitting_of("spaces"))
    (tmp_path / "a").write_text("\n".join(texts))
    counts = count_words_in_files([tmp_path / "a"], how)
    assert counts.words == ("Br", "C", "Cl", "long" + "x" * 200) and counts.too_long == 0
    assert counts.counts.tolist() == [1, 2, 2, 1]
    counts.save(tmp_path / "counts")
    again = WordCounts.load(tmp_path / "counts")
    assert again.settings == how and again.hash == counts.hash == count_words(texts, how).hash


def test_a_vocabulary_is_the_most_frequent_parts():
    texts = ["C C C O O Br Br [MASK] N", "C Cl"]
    how = WordSettings(splitting=splitting_of("spaces"))
    learned = learn_vocabulary(texts, 8, settings=how)
    assert learned.pieces == (*SPECIAL_PIECES, "C", "Br", "O")
    assert learned.record["stopped_by"] == "size"
    assert learned.record["unknown"] == 3  # [MASK], N and Cl, of 11
    assert learned.record["settings"]["splitting"] == "spaces"
    often = learn_vocabulary(texts, 100, settings=how, min_count=2, unused_rows=1)
    assert often.pieces == (*SPECIAL_PIECES, "[unused0]", "C", "Br", "O")
    assert often.record["stopped_by"] == "min_count"
    assert learn_vocabulary(texts, 100, settings=how).record["stopped_by"] == "all"


def test_a_line_is_a_sentence_however_long(tmp_path):
    lines = ["C . O ? Br", "Cl " * 2000, "", "c"]
    documents = [Document(str(i), "\n".join([f"C{'O' * i}", *lines])) for i in range(30)]
    build_corpus(documents, SPACED, tmp_path / "corpus", heldout_fraction=0.2)
    corpus = Corpus.open(tmp_path / "corpus")
    assert corpus.tokenizer.__reduce__() == SPACED.__reduce__()
    starts = corpus.train.sentence_starts[corpus.train.document_starts[0] :][:5]
    assert np.diff(starts).tolist() == [1, 5, 2000, 1]


def test_pieces_are_added_as_they_are_written():
    added = with_added_pieces(MATCHED, ["N", "[N+]"])
    assert added.encode("CN[N+]").ids[1:-1] == [5, len(MATCHED.pieces), len(MATCHED.pieces) + 1]
    assert not added.added  # they are matches of their own
    assert Speller(SPACED).spell("Cl") == (SPACED.id_of("Cl"),)
    assert Speller(SPACED).spell("ClC") == ()


WRONG = {
    "": "got splitting=''; expected words, spaces or a regular expression",
    "space": "got splitting='space'; expected words, spaces or a regular expression",
    "(C": "got splitting='(C', which is not a valid regular expression (end pattern with unmatched",
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_splitting_is_said_in_one_line(name):
    with pytest.raises(UserError) as error:
        Tokenizer(SPECIAL_PIECES, splitting=name)
    assert str(error.value).startswith(WRONG[name]) and "\n" not in str(error.value)


def test_settings_that_do_not_go_together_are_said():
    cut = WordSettings(splitting=splitting_of("spaces"))
    with pytest.raises(UserError, match="got lowercase=True with splitting='spaces'"):
        PretrainingSettings(splitting="spaces", lowercase=True)
    with pytest.raises(UserError, match="drop_unused=True for splitting='spaces'"):
        learn_vocabulary(["C"], 10, settings=cut, drop_unused=True)
    with pytest.raises(UserError, match="got min_count=2 for splitting='words'"):
        learn_vocabulary(["C"], 10, min_count=2)
    with pytest.raises(UserError, match="got min_count 0; expected 1 or more"):
        learn_vocabulary(["C"], 10, settings=cut, min_count=0)
    with pytest.raises(UserError, match="in which splitting='spaces' finds nothing"):
        learn_vocabulary([" "], 10, settings=cut)
    with pytest.raises(UserError, match="got vocabulary size 5; expected more than 5"):
        learn_vocabulary(["C"], 5, settings=cut)


@pytest.mark.parametrize(
    ("expression", "text", "left_out"),
    [
        ("[A-Z][a-z]?", "Na+ Cl-", "+-"),
        ("[A-Z][a-z]?", "", ""),
        ("[A-Z][a-z]?", "--", "--"),
        ("[A-Z][a-z]?|.", "Na+ Cl-", ""),
        ("a b", "xa by", "xy"),
    ],
)
def test_what_lies_between_matches_is_left_out(expression, text, left_out):
    assert splitting_of(expression).left_out(text) == left_out
    assert splitting_of("words").left_out(text) == splitting_of("spaces").left_out(text) == ""
