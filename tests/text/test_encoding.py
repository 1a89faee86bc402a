"""A tokenizer called as at Hugging Face: padded arrays that go straight into a model."""

import dataclasses
import itertools

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.text.encoding import whole_spans
from tests.convert import models
from tests.text.vocabulary import small_tokenizer

TOKENIZER = small_tokenizer()
TEXTS = ["I like cats", "", "dogs!", "Crème brûlée — naïve 你好 " * 3, "a" * 101]
PAIRS = ["I like dogs", "yes", "", "mr smith he left", "the end one day"]


def peer(directory, max_length=None, to=None):
    """What transformers' fast tokenizers are: the Rust library with what is in tokenizer.json."""
    TOKENIZER.save_pretrained(directory)
    library = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
    library.enable_padding(pad_id=TOKENIZER.pad_id, pad_token="[PAD]", length=to)
    if max_length is not None:
        library.enable_truncation(max_length)
    return library


def assert_same(ours, theirs):
    np.testing.assert_array_equal(ours.input_ids, [each.ids for each in theirs])
    np.testing.assert_array_equal(ours.token_type_ids, [each.type_ids for each in theirs])
    np.testing.assert_array_equal(ours.attention_mask, [each.attention_mask for each in theirs])


@pytest.mark.parametrize("max_length", [None, 3, 7, 8, 24])
def test_arrays_are_the_librarys_for_texts_and_pairs(tmp_path, max_length):
    library = peer(tmp_path, max_length)
    assert_same(TOKENIZER(TEXTS, max_length=max_length), library.encode_batch(TEXTS))
    pairs = list(zip(TEXTS, PAIRS, strict=True))
    assert_same(TOKENIZER(TEXTS, PAIRS, max_length=max_length), library.encode_batch(pairs))


def test_rows_are_as_long_as_max_length_where_asked(tmp_path):
    found = TOKENIZER(TEXTS, max_length=40, padding="max_length")
    assert_same(found, peer(tmp_path, 40, to=40).encode_batch(TEXTS))
    assert found.input_ids.shape == (5, 40)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=4), st.integers(3, 30))
def test_any_pairs(tmp_path_factory, pairs, max_length):
    library = peer(tmp_path_factory.mktemp("tokenizer"), max_length)
    kept = [pair for pair in pairs if "[" not in "".join(pair)]  # typed special pieces are text
    if kept:
        firsts, seconds = zip(*kept, strict=True)
        assert_same(TOKENIZER(firsts, seconds, max_length=max_length), library.encode_batch(kept))


def test_one_text_is_one_row():
    np.testing.assert_array_equal(TOKENIZER("I like cats").input_ids, TOKENIZER(["I like cats"])[
        "input_ids"
    ])  # fmt: skip
    like, cats, dogs = map(TOKENIZER.id_of, ("like", "cats", "dogs"))
    i, cls, sep = TOKENIZER.id_of("i"), TOKENIZER.cls_id, TOKENIZER.sep_id
    pair = TOKENIZER("I like cats", "I like dogs")
    assert pair.input_ids.tolist() == [[cls, i, like, cats, sep, i, like, dogs, sep]]
    assert pair.token_type_ids.tolist() == [[0, 0, 0, 0, 0, 1, 1, 1, 1]]
    assert pair.attention_mask.tolist() == [[1] * 9]
    assert TOKENIZER([]).input_ids.shape == (0, 0)


def test_special_pieces_are_text_unless_they_are_meant():
    assert TOKENIZER.mask_id not in TOKENIZER("the [MASK] day").input_ids
    assert TOKENIZER.mask_id in TOKENIZER("the [MASK] day", special_pieces_in_text=True).input_ids


def test_it_is_a_frozen_mapping_of_three_int32_arrays():
    found = TOKENIZER(TEXTS)
    assert list(found) == ["input_ids", "token_type_ids", "attention_mask"] and len(found) == 3
    assert {array.dtype for array in found.values()} == {np.dtype(np.int32)}
    assert "offsets" not in found
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.input_ids = None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TOKENIZER(["a", "b"], ["c"]), "got 2 texts and 1 pairs"),
        (lambda: TOKENIZER("a", "b", max_length=2), "got max_length=2; expected at least 3"),
        (lambda: TOKENIZER("a", padding="max_length"), "without a max_length"),
        (lambda: TOKENIZER("a", padding=True), "got padding=True; expected longest or max_length"),
    ],
)
def test_what_cannot_be_is_one_line(call, message):
    with pytest.raises(UserError, match=message):
        call()


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_every_model_takes_it_as_it_is(architecture):
    tokenizer = models.tokenizer()
    model = models.model(architecture)
    both = tokenizer(["readable", "un"], ["reading", "unreadable"])
    if architecture == "BertForMultipleChoice":  # a question has choices: [1, 2, L]
        output = model(**{name: array[None] for name, array in both.items()})
    else:
        output = model(**both)
        alone = model(**tokenizer("un", "unreadable"))
        longest = int(both.attention_mask[1].sum())
        np.testing.assert_allclose(
            output.last_hidden_state[1, :longest], alone.last_hidden_state[0], atol=1e-5
        )
    assert output.last_hidden_state.shape == (2, both.input_ids.shape[1], 8)


@pytest.mark.parametrize(
    "text, uncased, cased",
    [
        ("you\u0301 now.", "you\u0301|n|o|w|.", "you\u0301|n|o|w|."),
        ("a\u0301b", "a\u0301|b", "a\u0301b"),  # one [UNK] where accents stay
        ("ab\u0301\u0302b c", "a|b\u0301\u0302|b|c", "ab\u0301\u0302b|c"),
        ("a\x00. \u200bc\u200b\ufffd d", "a\x00|.|c\u200b\ufffd|d", "a\x00|.|c\u200b\ufffd|d"),
        ("中\u0301字\ufeff.", "中\u0301|字\ufeff|.", "中|\u0301|字\ufeff|."),
        ("a \u0301 b", "a|b", "a|\u0301|b"),  # it belongs to no piece
        ("한\u0301 a", "한\u0301|a", "한\u0301|a"),
        ("a\ud800b", "a\ud800|b", "a\ud800|b"),
        ("\x00a\x00", "a\x00", "a\x00"),
        ("", "", ""),
    ],
)
def test_a_piece_stands_for_what_was_removed_behind_it(text, uncased, cased):
    for lowercase, expected in ((True, uncased), (False, cased)):
        tokenizer = small_tokenizer(lowercase=lowercase)
        offsets = tokenizer.encode(text).offsets[1:-1]
        spans = whole_spans(text, offsets, tokenizer.removes)
        assert "|".join(text[start:end] for start, end in spans) == expected
        assert spans[:, 0].tolist() == [start for start, _ in offsets]


LETTERS = "aBé字中한b\u0301\u0302\u1112\u1161\u200b\ufeff\x00\x0c\u0130ßﬁ.  \n\u00a0"


@given(st.text(st.sampled_from(LETTERS), max_size=20), st.booleans(), st.booleans())
@settings(max_examples=200, deadline=None)
def test_between_two_pieces_is_white_space_alone(text, lowercase, split_chinese):
    tokenizer = small_tokenizer(lowercase=lowercase, split_chinese=split_chinese)
    spans = whole_spans(text, tokenizer.encode(text).offsets[1:-1], tokenizer.removes)
    assert len(spans) or not text.strip() or all(map(tokenizer.removes, "".join(text.split())))
    for (_, end), (start, _) in itertools.pairwise(spans):
        between = text[end:start]
        assert not between or (between[0].isspace() and not tokenizer.removes(between[0]))
        assert all(c.isspace() or tokenizer.removes(c) for c in between)


def test_where_text_is_cut_already_nothing_is_removed():
    tokenizer = small_tokenizer(splitting="[a-z]")
    assert not tokenizer.removes("\x00")
    offsets = tokenizer.encode("a\x00b").offsets[1:-1]
    assert whole_spans("a\x00b", offsets, tokenizer.removes).tolist() == [[0, 1], [2, 3]]
