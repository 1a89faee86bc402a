import time
from itertools import accumulate
from pathlib import Path

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


@pytest.mark.parametrize(
    "text, sentences",
    [  # ../shared/data/cases/openers.txt
        (
            "Hola amigo. ¿Cómo estás? ¡Muy bien! Adiós.",
            ["Hola amigo.", "¿Cómo estás?", "¡Muy bien!", "Adiós."],
        ),
        (
            "It is free. $5 is not much. Right.",
            ["It is free.", "$5 is not much.", "Right."],
        ),
        (
            "He came home. #blessed day. Then he left.",
            ["He came home.", "#blessed day.", "Then he left."],
        ),
        ("So good!😀 Yes. 😀 No.", ["So good!😀", "Yes.", "😀 No."]),
        ('He left. " And "', ["He left.", '" And "']),
        ('He left . "', ['He left . "']),
        (">>> x = [1.]\n>>> y\n... @nn.compact", [">>> x = [1.]\n>>> y\n... @nn.compact"]),
        ("Use int. @foo.bar\nHi. ${A}", ["Use int.", "@foo.bar\nHi. ${A}"]),
    ],
)
def test_what_may_begin_a_sentence(text, sentences):
    assert split_sentences(text) == sentences


def test_lower_cased_text():
    lines = [
        "usually , he would run around the room .",
        "but one look sent him away .",
        "that had been her plan .",
        "he had seen it by mistake .",
    ]
    assert split_sentences("\n".join(lines) + "\n") == lines
    assert split_sentences(" ".join(lines)) == lines
    asked = '" why ? " he asked .\n" i am mr. smith . "\n'  # its lines say what no rule can
    assert split_sentences(asked) == asked.splitlines()
    assert split_sentences("we met at 9 a.m. in room 4. he left...\nthen") == [
        "we met at 9 a.m. in room 4.",
        "he left...\nthen",
    ]
    # One capital in the text, and a small letter begins no sentence.
    assert split_sentences("go. now\n\nI") == ["go. now", "I"]


def test_ends_of_many_languages_are_found():
    """Before ¿, $, #, emoji, lower-cased text and Khmer, Burmese and Tibetan: 0.888 and 0.760."""
    right = found = there = 0
    for language, joined, paragraphs_of_it in known_ends():
        for sentences in paragraphs_of_it:
            text = ("" if joined else " ").join(sentences)
            known, ours = boundaries(sentences), boundaries(split_sentences(text))
            assert len(known & ours) >= 0.8 * len(known), (language, split_sentences(text))
            right, found, there = right + len(known & ours), found + len(ours), there + len(known)
    assert right / found > 0.98  # precision
    assert right / there > 0.97  # recall


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


def known_ends():
    """Yield (language, whether no space parts sentences, paragraphs of sentences)."""
    sections = (Path(__file__).parent / "sentence_ends.txt").read_text().split("\n[")[1:]
    for section in sections:
        head, _, body = section.partition("\n")
        language, _, rest = head.partition("]")
        paragraphs = [part.splitlines() for part in body.strip().split("\n\n")]
        yield language, rest.strip() == "joined", paragraphs


def boundaries(sentences):
    """Return where one sentence ends and another begins, in characters that are no space."""
    return set(list(accumulate(len(squeezed(sentence)) for sentence in sentences))[:-1])


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
