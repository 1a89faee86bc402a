import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.tasks.features import Features, as_arrays, cached, from_arrays
from bert_jax.tasks.multiple_choice import ChoiceQuestion, choice_features, choose
from bert_jax.tasks.question_answering.answers import find_answers
from bert_jax.tasks.question_answering.squad import Answer, Question
from bert_jax.tasks.question_answering.task import QuestionAnswering
from bert_jax.tasks.question_answering.windows import WindowFeatures, window_features
from bert_jax.tasks.tagging import tag_features
from bert_jax.tasks.texts import text_features
from bert_jax.text.encoding import whole_spans
from tests.text.vocabulary import small_tokenizer

TOKENIZER = small_tokenizer()


def pieces(features, sequence):
    ids = features.ids[features.starts[sequence] : features.starts[sequence + 1]]
    return " ".join(TOKENIZER.pieces[i] for i in ids)


def test_texts_and_pairs():
    labels = np.array([1, 0], np.int32)
    single = text_features(["I like cats", "yes"], None, labels, TOKENIZER, 16).features
    assert [pieces(single, i) for i in (0, 1)] == ["[CLS] i like cats [SEP]", "[CLS] yes [SEP]"]
    assert single.starts.tolist() == [0, 5, 8] and single.unit_starts.tolist() == [0, 1, 2]
    pair = text_features(["I like cats"], ["yes"], labels[:1], TOKENIZER, 6)
    assert pieces(pair.features, 0) == "[CLS] i like [SEP] yes [SEP]"
    assert pair.features.type_ids.tolist() == [0, 0, 0, 0, 1, 1]


def test_choices_are_pairs_of_one_unit():
    questions = [
        ChoiceQuestion("i", ("cats", "dogs", "yes"), 1, 1),
        ChoiceQuestion("he", ("i", "you"), 0, 2),
    ]
    features = choice_features(questions, TOKENIZER, 16)
    assert pieces(features, 1) == "[CLS] i [SEP] dogs [SEP]"
    assert features.unit_starts.tolist() == [0, 3, 5] and features.unit_size == 3
    assert features.labels.tolist() == [0, 1, 0, 1, 0]
    first, second = choose(np.log([1.0, 2, 1, 3, 1]), features.unit_starts)
    np.testing.assert_allclose(first, [0.25, 0.5, 0.25])
    np.testing.assert_allclose(second, [0.75, 0.25])


def test_labels_stand_on_first_pieces_and_long_sentences_are_cut_between_words():
    sentences = [["Yes", "dogging", "\x00", "i"], ["cats"]]
    labels = np.arange(5, dtype=np.int32)
    made = tag_features(sentences, labels, TOKENIZER, 9)
    features = made.features
    assert pieces(features, 0) == "[CLS] yes d ##o ##g ##g ##ing [UNK] [SEP]"
    assert [pieces(features, i) for i in (1, 2)] == ["[CLS] i [SEP]", "[CLS] cats [SEP]"]
    assert features.labels[:9].tolist() == [-1, 0, 1, -1, -1, -1, -1, 2, -1]
    np.testing.assert_array_equal(features.labels[made.words], labels)
    with pytest.raises(UserError, match="got max_length=2; expected at least 3"):
        tag_features(sentences, labels, TOKENIZER, 2)


SENTENCE = st.lists(st.sampled_from(["i", "cats", "dogging", "é", "\x00"]), max_size=9)


@given(st.lists(SENTENCE, min_size=1), st.integers(3, 12))
@settings(max_examples=30, deadline=None)
def test_every_word_has_its_token(sentences, max_length):
    count = sum(map(len, sentences))
    made = tag_features(sentences, np.arange(count, dtype=np.int32), TOKENIZER, max_length)
    assert made.features.lengths.max() <= max_length
    np.testing.assert_array_equal(made.features.labels[made.words], np.arange(count))
    assert np.count_nonzero(made.features.labels >= 0) == count


CONTEXT = "The cats, “dogs” and Mr. Smith left one day."


def question(text, words="How are you?"):
    answers = (Answer(text, CONTEXT.index(text)),) if text else ()
    return Question("1", "", words, CONTEXT, answers)


@pytest.mark.parametrize("text", ["“dogs”", "Smith", "Mr. Smith left", "The", "day.", "mith le"])
@pytest.mark.parametrize("max_length", [14, 18, 64])
def test_windows_hold_the_answer_exactly(text, max_length):
    made = window_features([question(text)], TOKENIZER, max_length, 4)
    features = made.features
    whole = 0
    for window in range(len(features)):
        begin, (first, last) = features.starts[window], features.labels[window]
        if last:
            whole += 1
            found = CONTEXT[made.offsets[begin + first, 0] : made.offsets[begin + last, 1]]
            assert text in found and len(found) <= len(text) + 3  # whole pieces: "Smith left"
    assert whole >= 1
    assert features.lengths.max() <= max_length


@given(
    st.text(st.sampled_from("ab .,é中\x00 "), max_size=60), st.integers(9, 20), st.integers(0, 3)
)
@settings(max_examples=50, deadline=None)
def test_windows_cover_every_piece_and_share_the_overlap(context, max_length, overlap):
    made = window_features([Question("1", "", "Yes?", context, ())], TOKENIZER, max_length, overlap)
    offsets = TOKENIZER.encode(context).offsets[1:-1]
    expected = [tuple(span) for span in whole_spans(context, offsets, TOKENIZER.removes).tolist()]
    windows = [
        made.offsets[a:b][made.offsets[a:b, 0] >= 0].tolist()
        for a, b in zip(made.features.starts[:-1], made.features.starts[1:], strict=True)
    ]
    joined = windows[0]
    for window in windows[1:]:
        assert window[:overlap] == joined[len(joined) - overlap :]
        joined = joined + window[overlap:]
        assert len(window) > overlap
    assert [tuple(pair) for pair in joined] == expected


@given(
    st.text(st.sampled_from("abB .é中한u\u0301\u0302\u1112\u1161\u200b\x00 "), max_size=40),
    st.data(),
    st.booleans(),
    st.integers(12, 24),
)
@settings(max_examples=100, deadline=None)
def test_an_answer_that_is_read_back_covers_what_was_asked(context, data, lowercase, max_length):
    tokenizer = small_tokenizer(lowercase=lowercase)
    spans = whole_spans(context, tokenizer.encode(context).offsets[1:-1], tokenizer.removes)
    assume(len(spans))
    first = data.draw(st.integers(0, len(spans) - 1))
    last = data.draw(st.integers(first, min(first + 2, len(spans) - 1)))
    start, end = int(spans[first, 0]), int(spans[last, 1])
    asked = Question("1", "", "?", context, (Answer(context[start:end], start),))
    made = window_features([asked], tokenizer, max_length, 4)
    logits = np.full((len(made.features.ids), 2), -9.0)
    for begin, labels in zip(made.features.starts[:-1], made.features.labels, strict=True):
        if labels[0]:
            logits[begin + labels[0], 0] = logits[begin + labels[1], 1] = 9.0
    assert logits.max() == 9  # some window holds the answer whole
    (found,) = find_answers([asked], made, logits)
    best = found.candidates[0]
    assert best.start <= start and end <= best.start + len(best.text)
    assert context[best.start :].startswith(best.text)


@pytest.mark.parametrize("lowercase", [True, False])
def test_a_decomposed_answer_comes_back_whole(lowercase):
    context = "Jose\u0301 lives in Peru\u0301 now."
    asked = Question("1", "t", "Where?", context, (Answer("Peru\u0301", 15),))
    made = window_features([asked], small_tokenizer(lowercase=lowercase), 40, 4)
    first, last = made.features.labels[0]
    assert context[made.offsets[first, 0] : made.offsets[last, 1]] == "Peru\u0301"


def test_too_little_room_is_said():
    with pytest.raises(UserError, match="got max_length=10 with window_overlap=4; expected more"):
        window_features([question("Smith")], TOKENIZER, 10, 4)


def windows_by_hand():
    """Two windows of one question: [CLS] q [SEP] a b [SEP] and [CLS] q [SEP] b c [SEP]."""
    offsets = [-1, -1, -1, 0, 2, -1, -1, -1, -1, 2, 4, -1]
    features = Features(np.zeros(12, np.int32), np.zeros(12, np.int8), np.array([0, 6, 12]),
                        np.zeros((2, 2), np.int32), np.array([0, 1, 2]))  # fmt: skip
    spans = np.array([(o, o + 1 if o >= 0 else o) for o in offsets], np.int32)
    return WindowFeatures(features, spans, np.array([0, 0]))


def test_answers_by_hand():
    logits = np.full((12, 2), -9.0)
    logits[0], logits[6] = (1, 1), (0, 1)  # [CLS]
    logits[[1, 7]] = 99  # inside the question: never an answer
    logits[3, 0], logits[4, 1] = 3, 2  # "a b"
    logits[9, 0], logits[10, 1] = 2, 2.5  # "b c"
    asked = Question("1", "", "?", "a b c", ())
    (found,) = find_answers([asked], windows_by_hand(), logits)
    assert [c.text for c in found.candidates[:2]] == ["a b", "b c"]
    assert found.candidates[0].score == 5 and found.null_score == 1
    assert found.null_margin == -4
    assert (found.text(), found.text(-4), found.text(-4.1)) == ("a b", "a b", "")
    probabilities = found.probabilities()
    assert probabilities.sum() == pytest.approx(1)
    assert probabilities[0] / probabilities[-1] == pytest.approx(np.exp(4))
    (single,) = find_answers([asked], windows_by_hand(), logits, max_pieces=1)
    assert all(len(c.text) == 1 for c in single.candidates)


def test_when_not_to_answer_is_learned_from_held_out_questions():
    task = QuestionAnswering(64, 4, may_have_none=True)
    asked = [question("dogs"), dataclasses.replace(question(""), id="2")]
    prepared = task.prepare(asked, TOKENIZER)
    logits = np.zeros((len(prepared.features.ids), 2), np.float32)
    first, last = prepared.features.labels[0]
    for begin, score in zip(prepared.features.starts, (5, 2), strict=False):
        logits[begin + first, 0] = logits[begin + last, 1] = score / 2  # "no answer" scores 0
    assert task.scores(asked, prepared, logits)["f1"] == 0.5  # both get an answer
    taught = task.calibrated(asked, prepared, logits)
    assert -5 <= taught.null_threshold < -2
    assert taught.scores(asked, prepared, logits)["f1"] == 1.0
    found = list(taught.predictions(asked, prepared, logits))
    assert [(row["answer"], row["start"]) for row in found] == [("dogs", 11), ("", None)]


def test_features_are_made_once(tmp_path):
    made = tag_features([["yes"]], np.zeros(1, np.int32), TOKENIZER, 9)
    calls = []

    def make():
        calls.append(1)
        return as_arrays(made)

    for description in ({"data": "x"}, {"data": "x"}, {"data": "y"}):
        arrays = cached(tmp_path / "features", description, make)
    assert len(calls) == 2
    again = Features(**from_arrays(arrays, "features"))
    np.testing.assert_array_equal(again.labels, made.features.labels)
    assert from_arrays(arrays).keys() == {"words"}
    for file in (tmp_path / "features").iterdir():
        file.write_bytes(b"torn")
    cached(tmp_path / "features", {"data": "x"}, make)
    assert len(calls) == 3
