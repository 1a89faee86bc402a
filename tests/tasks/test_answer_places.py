"""Answers in odd contexts: characters to tokens and back, and predictions that are stretches."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.tasks.question_answering.answers import find_answers
from bert_jax.tasks.question_answering.placing import place_answers
from bert_jax.tasks.question_answering.squad import Answer, Question
from bert_jax.tasks.question_answering.windows import window_features
from tests.budget import cases
from tests.text.vocabulary import small_tokenizer

ODD = st.sampled_from(
    list(" \t\n\r\x0b\x85\xa0\u2003\u2028\u3000\u200b\ufeff\xad\x00\ufffd\u0301\u0323\u05b0")
    + list("aZ09.,'“—éßİǅﬀ中文字。々ー각𠀀🤗")
    + ["e\u0301", "👩\u200d👧", "cats", " the ", "İ\u0307", "##s", "[SEP]"]
)
CONTEXTS = st.lists(st.one_of(ODD, st.characters(codec="utf-8")), min_size=1, max_size=40)
TOKENIZERS = [small_tokenizer(), small_tokenizer(lowercase=False)]


def asked(context, answers=()):
    return Question("1", "article", "how are you", context, tuple(answers))


@cases(60)
@given(CONTEXTS.map("".join), st.data(), st.sampled_from(TOKENIZERS))
def test_the_tokens_of_an_answer_cover_it(context, data, tokenizer):
    start = data.draw(st.integers(0, len(context) - 1))
    end = data.draw(st.integers(start + 1, len(context)))
    question = asked(context, [Answer(context[start:end], start)])
    if context[start:end].strip():
        assert place_answers([question]).questions == [question]
    windows = window_features([question], tokenizer, 512, 0)
    first, last = windows.features.labels[0]
    shown = [i for i in range(start, end)
             if not context[i].isspace() and not tokenizer.removes(context[i])]  # fmt: skip
    if shown:
        assert first > 0
        assert windows.offsets[first, 0] <= shown[0] < shown[-1] + 1 <= windows.offsets[last, 1]
    for token in range(first, last + 1) if first else ():
        begin, stop = windows.offsets[token]
        assert begin < end and stop > start  # each of them touches it


@cases(60)
@given(CONTEXTS.map("".join), st.sampled_from(TOKENIZERS), st.integers(0, 2**32 - 1))
def test_what_is_predicted_stands_in_the_context(context, tokenizer, seed):
    windows = window_features([asked(context)], tokenizer, 24, 4)
    logits = np.random.default_rng(seed).normal(size=(len(windows.offsets), 2))
    (found,) = find_answers([asked(context)], windows, logits)
    assert bool(found.candidates) == bool((windows.offsets[:, 0] >= 0).any())
    for candidate in found.candidates:
        stop = candidate.start + len(candidate.text)
        assert candidate.text and context[candidate.start : stop] == candidate.text
