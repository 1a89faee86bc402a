import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from bert_jax.errors import UserError
from bert_jax.text.inputs import make_inputs, truncate_longest_first

CLS, SEP = 101, 102


def test_single_text():
    inputs = make_inputs([1, 2, 3], None, cls_id=CLS, sep_id=SEP)
    assert inputs.ids == [101, 1, 2, 3, 102]
    assert inputs.type_ids == [0, 0, 0, 0, 0]


def test_pair_closes_both_texts():
    inputs = make_inputs([1, 2, 3], [4, 5, 6], cls_id=CLS, sep_id=SEP)
    assert inputs.ids == [101, 1, 2, 3, 102, 4, 5, 6, 102]
    assert inputs.type_ids == [0, 0, 0, 0, 0, 1, 1, 1, 1]


def test_an_empty_second_text_is_still_a_pair():
    inputs = make_inputs([1], [], cls_id=CLS, sep_id=SEP)
    assert inputs.ids == [101, 1, 102, 102]
    assert inputs.type_ids == [0, 0, 0, 1]


@pytest.mark.parametrize(
    "first, second, limit, kept",
    [
        (3, 4, 7, (3, 4)),
        (9, 3, 8, (5, 3)),
        (3, 9, 8, (3, 5)),
        (9, 7, 9, (5, 4)),
        (7, 9, 9, (4, 5)),
        (7, 7, 9, (4, 5)),
        (5, 0, 3, (3, 0)),
        (5, 5, 0, (0, 0)),
    ],
)
def test_truncation(first, second, limit, kept):
    assert truncate_longest_first(first, second, limit) == kept


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 90))
def test_truncation_is_that_of_hugging_face(first, second, limit):
    library = tokenizers.Tokenizer(WordLevel({"a": 0, "b": 1}, unk_token="a"))
    library.pre_tokenizer = WhitespaceSplit()
    library.enable_truncation(limit, strategy="longest_first")
    ids = library.encode("a " * first, "b " * second).ids
    assert truncate_longest_first(first, second, limit) == (ids.count(0), ids.count(1))


@given(
    st.lists(st.integers(5, 9), max_size=30),
    st.none() | st.lists(st.integers(5, 9), max_size=30),
    st.integers(3, 40),
)
def test_rows_fit_and_keep_the_beginnings(first, second, max_length):
    inputs = make_inputs(first, second, cls_id=CLS, sep_id=SEP, max_length=max_length)
    whole = make_inputs(first, second, cls_id=CLS, sep_id=SEP)
    assert len(inputs.ids) == len(inputs.type_ids) == min(max_length, len(whole.ids))
    assert inputs.ids[1 : 1 + inputs.first] == first[: inputs.first]
    assert inputs.ids.count(SEP) == 1 + (second is not None)
    assert inputs.ids[-1] == SEP and inputs.ids[0] == CLS


@pytest.mark.parametrize("second, room", [(None, 1), ([], 2)])
def test_no_room_for_the_special_pieces(second, room):
    with pytest.raises(UserError, match=rf"got max_length={room}; expected at least {room + 1}"):
        make_inputs([1], second, cls_id=CLS, sep_id=SEP, max_length=room)
