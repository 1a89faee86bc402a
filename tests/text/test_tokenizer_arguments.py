"""Arguments of a tokenizer: what is natural works, what is wrong is one line."""

import pytest

from bert_jax.errors import UserError
from bert_jax.text.tokenizer import SPECIAL_PIECES, Tokenizer
from tests.text.vocabulary import small_tokenizer

OURS = small_tokenizer()


def test_it_says_what_it_is():
    assert len(OURS) == OURS.vocab_size
    assert repr(Tokenizer(SPECIAL_PIECES)) == "<Tokenizer of 5 pieces, uncased>"
    cased = Tokenizer(SPECIAL_PIECES, lowercase=False)
    assert repr(cased) == "<Tokenizer of 5 pieces, cased>"
    spaces = Tokenizer(SPECIAL_PIECES, splitting="spaces")
    assert repr(spaces) == "<Tokenizer of 5 pieces, splitting='spaces'>"


def test_one_text_is_one_text():
    assert OURS.encode_batch("cats") == OURS.encode_batch(["cats"])
    assert OURS("cats").input_ids.tolist() == OURS(["cats"]).input_ids.tolist()


def test_a_lone_surrogate_is_a_replacement_character():
    for text, valid in (("cats\ud800 dogs", "cats\ufffd dogs"), ("\ud83d\ude00", "\U0001f600")):
        assert OURS.encode(text) == OURS.encode(valid)
        assert OURS.encode_batch([text], [text]) == OURS.encode_batch([valid], [valid])
        assert OURS.piece_ids(text).tolist() == OURS.piece_ids(valid).tolist()


WRONG = {
    "got text=3; expected a text": lambda: OURS.encode(3),
    "got text=None; expected a text": lambda: OURS.piece_ids(None),
    "got pair=['a'], a list; expected a text": lambda: OURS.encode("a", ["a"]),
    "got texts=None; expected texts, strings in a list": lambda: OURS(None),
    "got None as item 2 of texts; expected texts": lambda: OURS(["a", None]),
    "got ('a', 'b'), a tuple as item 1 of texts": lambda: OURS.encode_batch([("a", "b")]),
    "got 7 as item 1 of pairs; expected texts": lambda: OURS(["a"], [7]),
    "got truncation=True; expected max_length=N": lambda: OURS("a", truncation=True),
    "got return_tensors='pt'; expected none, since": lambda: OURS("a", return_tensors="pt"),
    "got text_pair='b'; expected pairs, the second": lambda: OURS("a", text_pair="b"),
    "got nonsense=1; expected texts, pairs, max_length": lambda: OURS("a", nonsense=1),
    "got padding='left'; expected longest or": lambda: OURS("a", padding="left"),
    "got padding=True; expected longest or": lambda: OURS("a", padding=True),
    "got padding=False; expected longest or": lambda: OURS("a", padding=False),
    "got ids=5; expected the ids of pieces": lambda: OURS.decode(5),
    "got pieces='vocab.txt', a path; expected the": lambda: Tokenizer("vocab.txt"),
    "got pieces=None; expected pieces, strings": lambda: Tokenizer(None),
    "got 3 as item 1 of pieces; expected pieces": lambda: Tokenizer([3]),
    "got vocab=None; expected the path of a vocab.txt": lambda: Tokenizer.from_file(None),
    "got source=None; expected the path of a checkpoint, or a name": lambda: (
        Tokenizer.from_pretrained(None)
    ),
}


@pytest.mark.parametrize("line", WRONG)
def test_what_is_wrong_is_one_line(line):
    with pytest.raises(UserError) as error:
        WRONG[line]()
    assert str(error.value).startswith(line) and "\n" not in str(error.value)
