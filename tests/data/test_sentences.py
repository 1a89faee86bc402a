import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.data.sentences import LONGEST_SENTENCE, paragraphs, split_sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["Mr. A. B. Smith paid $3.50.", "“Why?” he asked.", "Nobody knew!"],
        ["The U.S. Army came.", "He lives in the U.S.", "The end."],
        [
            "It was J. K. Rowling; see e.g. Fig. 3.",
            "No. 5 is alive!",
            "Really?",
            "Yes...",
            "Maybe.",
        ],
        ['"Quoted."', "He left.", "(See this.)", "Then that."],
        ["At 5 p.m.", "He slept etc.", "And so on."],
        ["Dr. King met Gen. Lee on Jan. 5 near St. Mary.", "It was 3.14 metres."],
        ["1. The first item.", "Then more."],
        ["“Oh!” she cried, “it hurts!”", "He nodded."],
        ["He said—Mr. Brown, I mean—nothing.", "So be it."],
        ["The actor .", "He had a guest role ."],  # tokenised text, as in WikiText
        ["See fig. 2 and vol. IV of it.", "That was I.", "He went."],
        ["What?!", "No.", "Yes…", "Well then."],
        ["Henry VIII. was king in Chap. X. of it."],
        ["今天天气很好。", "我们去公园吧！", "你说：“好。”", "他走了。", "3．14是数。"],
        ["これは本です。", "「はい。」", "そうですか？", "ええ。"],
        ["यह एक वाक्य है।", "यह दूसरा है।"],
        ["Это предложение.", "А это другое?", "Да!"],
        ["هل هذا صحيح؟", "نعم."],
    ],
)
def test_sentences(sentences):
    joiner = "" if sentences[0][0] in "今こ" else " "
    assert split_sentences(joiner.join(sentences)) == sentences


def test_paragraphs():
    text = "A TITLE\n\nIt was the best of\ntimes. It was\n\n  \n- one\n- two\n\x0c3. three\n"
    assert list(paragraphs(text)) == [
        "A TITLE",
        "It was the best of\ntimes. It was",
        "- one",
        "- two",
        "3. three",
    ]
    long = "word " * 30
    assert list(paragraphs(f"head\n{long}\ntail\nend")) == ["head", long, "tail\nend"]
    assert list(paragraphs("one\r\n\r\ntwo\rthree")) == ["one", "two\nthree"]
    assert list(paragraphs(" \n\t\n")) == []


def test_no_sentence_crosses_a_blank_line():
    assert split_sentences("Heading without a stop\n\nand the text") == [
        "Heading without a stop",
        "and the text",
    ]


def test_long_sentences_are_cut_at_white_space():
    text = "word " * 500
    cut = split_sentences(text)
    assert [len(sentence) for sentence in cut] == [999, 999, 499]
    assert set(" ".join(cut).split()) == {"word"}
    assert [len(s) for s in split_sentences("x" * 2500)] == [1000, 1000, 500]
    assert split_sentences("ab cd ef", longest=5) == ["ab cd", "ef"]


def squeezed(text):
    return "".join(text.split())


WORDS = (
    "Mr. He he U.S. e.g. i.e. The 3.14 5 no. No. “Why?” (a) etc. ... . ! ? 。 ！ 他 」 — - 1. I. "
    "a.b.c. A.B. x [ ] ) * _ é ．5"
)
SPACES = [" ", "\n", "\n\n", "\t", "\x0c", "\u3000"]
PROSE = st.lists(st.sampled_from([*WORDS.split(), *SPACES]), max_size=40).map(" ".join)


@given(st.one_of(PROSE, st.text(max_size=200)), st.integers(1, 30))
def test_no_text_is_lost(text, longest):
    for sentences in (split_sentences(text), split_sentences(text, longest)):
        assert squeezed("".join(sentences)) == squeezed(text)
        assert all(s and s == s.strip() for s in sentences)
    assert max(map(len, sentences), default=0) <= longest


@pytest.mark.parametrize("unit", ["a", "a. ", ". ", "A.", "“", " ", "。", "Mr. ", "- \n", ")", "…"])
def test_time_is_linear_in_the_worst_of_texts(unit):
    text = unit * (1_000_000 // len(unit))
    start = time.process_time()
    sentences = split_sentences(text)
    assert time.process_time() - start < 10  # quadratic would take minutes
    assert max(map(len, sentences), default=0) <= LONGEST_SENTENCE
