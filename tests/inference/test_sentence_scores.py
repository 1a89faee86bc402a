"""Scores of sentences: what the model alone says of masked copies, whatever shares a batch."""

import dataclasses
import math

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.convert.ours import save_ours
from bert_jax.errors import UserError
from bert_jax.inference import (
    ORIGINAL,
    SCORE_FORMS,
    WITHIN_WORD_L2R,
    SentenceScore,
    SentenceScorer,
    pseudo_perplexity,
)
from bert_jax.inference.sentence_scores import _Asked
from tests.convert import models

PRETRAINED = models.pretrained("BertForPreTraining", models.tokenizer())
MODEL = models.model("BertForPreTraining")
WORDS = ["un", "read", "unable", "reading", "unreading", "é", "你", "xyz"]
SCORERS = {
    (name, size): SentenceScorer(PRETRAINED, form, batch_size=size)
    for name, form in SCORE_FORMS.items()
    for size in (3, 16)
}
SENTENCES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
# Rounding of float32 alone; scores here are of some tens of nats.
TOLERANCE = 2e-5


def by_hand(text, hides):
    """The scores of pieces, a masked copy at a time; `hides(tokens, i, j)` says what is hidden."""
    tokenizer, scores = PRETRAINED.tokenizer, []
    encoded = tokenizer.encode(text)
    for i in range(1, len(encoded.ids) - 1):
        ids = [
            tokenizer.mask_id if hides(encoded.tokens, i, j) else piece
            for j, piece in enumerate(encoded.ids)
        ]
        log_chances = jax.nn.log_softmax(MODEL([ids]).mlm_logits[0, i])
        scores.append(float(log_chances[encoded.ids[i]]))
    return scores


def alone(tokens, i, j):
    return i == j


def rest_of_word(tokens, i, j):
    return j >= i and all(token.startswith("##") for token in tokens[i + 1 : j + 1])


def test_what_is_hidden_with_a_piece():
    continues = np.array([False, True, True, False, False, True])
    assert ORIGINAL.hidden_until(continues).tolist() == [1, 2, 3, 4, 5, 6]
    assert WITHIN_WORD_L2R.hidden_until(continues).tolist() == [3, 3, 3, 4, 6, 6]
    assert WITHIN_WORD_L2R.hidden_until(np.array([True, True, False])).tolist() == [2, 2, 3]
    assert WITHIN_WORD_L2R.hidden_until(np.zeros(0, bool)).tolist() == []


@pytest.mark.parametrize(
    "form, hides", [("original", alone), ("within_word_l2r", rest_of_word)]
)  # fmt: skip
def test_a_score_is_what_the_model_alone_says_of_masked_copies(form, hides):
    texts = ["un", "unable read", "reading unreading 你", "read read xyz é", "un un"]
    for scored in SCORERS[form, 16](texts):
        want = by_hand(scored.text, hides)
        np.testing.assert_allclose(scored.token_scores, want, rtol=1e-5, atol=1e-6)
        assert scored.score == pytest.approx(sum(want), rel=1e-5)
        assert list(scored.tokens) == PRETRAINED.tokenizer.encode(scored.text).tokens[1:-1]
    assert by_hand("reading", alone) != by_hand("reading", rest_of_word)


@pytest.mark.parametrize("form", SCORE_FORMS)
@settings(max_examples=20, deadline=None)
@given(st.lists(SENTENCES, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_what_shares_a_batch_does_not_change_a_score(form, texts, random):
    shuffled = random.sample(texts, len(texts))
    few, many = SCORERS[form, 3](shuffled), SCORERS[form, 16](texts)
    assert [each.text for each in many] == texts
    assert [each.text for each in few] == shuffled
    of_text = {each.text: each for each in few}
    for each in many:
        alone = SCORERS[form, 3](each.text)
        for other in (of_text[each.text], alone):
            assert other.tokens == each.tokens
            np.testing.assert_allclose(other.token_scores, each.token_scores, atol=TOLERANCE)
        assert all(score <= 0 for score in each.token_scores) and each.score <= 0


@settings(max_examples=10, deadline=None)
@given(st.lists(st.sampled_from(["un", "read", "é", "你", "xyz"]), min_size=1, max_size=6))
def test_words_of_one_piece_score_the_same_in_both_forms(words):
    first, second = (SCORERS[name, 16](" ".join(words)) for name in SCORE_FORMS)
    assert first == second


def test_a_copy_that_several_ask_of_is_computed_once():
    pieces = [np.array(ids, np.int32) for ids in ([5, 7, 9], [5, 7, 10], [5, 7, 9])]
    asked = _Asked.of(pieces, PRETRAINED.tokenizer, ORIGINAL)
    assert asked.copies.ids.reshape(-1, 5).tolist() == [
        [2, 4, 7, 9, 3], [2, 5, 4, 9, 3], [2, 5, 7, 4, 3], [2, 4, 7, 10, 3], [2, 5, 4, 10, 3],
    ]  # fmt: skip
    assert asked.places.tolist() == [1, 2, 3, 1, 2]
    assert asked.counts.tolist() == [1, 1, 2, 1, 1]
    assert asked.targets[2].tolist() == [9, 10]
    assert asked.copy_of.tolist() == [0, 1, 2, 3, 4, 2, 0, 1, 2]
    assert asked.slot_of.tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0]


def test_scores_stream_and_come_in_order():
    read = []

    def source():
        for number in range(400):
            read.append(number)
            yield WORDS[number % len(WORDS)]

    stream = SCORERS["original", 3].score(source())
    assert next(stream).text == "un" and len(read) < 97  # 32 batches of copies
    assert [each.text for each in stream] == [WORDS[n % len(WORDS)] for n in range(1, 400)]


def test_a_text_that_cannot_be_scored_is_said_or_marked():
    scorer = SCORERS["original", 3]
    texts = ["un", "", " \u200b\t", "un " * 15, "un " * 14]
    said = [each.error for each in scorer.score(texts, "mark")]
    assert said == [
        "", "got '', of which no piece is left; expected a text with a word",
        "got ' \\u200b\\t', of which no piece is left; expected a text with a word",
        "got 17 pieces; expected at most 16, the model's positions", "",
    ]  # fmt: skip
    stream = scorer.score(["un"] * 200 + [""])
    assert len([next(stream) for _ in range(192)]) == 192
    with pytest.raises(UserError, match="text 201: got '', of which no piece is left"):
        list(stream)


def test_pseudo_perplexity_is_of_all_pieces_together():
    scores = [
        SentenceScore("a b", ("a", "b"), (-1.0, -3.0)),
        SentenceScore("c", ("c",), (-5.0,)),
        SentenceScore("", error="got ''"),
    ]
    assert [each.score for each in scores] == [-4.0, -5.0, 0.0]
    assert pseudo_perplexity(iter(scores)) == math.exp(3.0)
    assert math.isnan(pseudo_perplexity([]))
    assert pseudo_perplexity([SentenceScore("a", ("a",), (-710.0,))]) == math.inf


def test_rows_without_a_piece_count_as_in_the_model():
    wide = models.pretrained("BertForPreTraining", models.tokenizer(), vocab_size=64)
    ids = wide.tokenizer.encode("un read").ids
    ids[1] = wide.tokenizer.mask_id
    logits = models.model("BertForPreTraining", vocab_size=64)([ids]).mlm_logits[0, 1]
    want = jax.nn.log_softmax(logits)[wide.tokenizer.id_of("un")]
    found = SentenceScorer(wide, batch_size=4)("un read").token_scores[0]
    assert found == pytest.approx(float(want), rel=1e-5)


def test_special_pieces_that_are_typed_are_text():
    (scored,) = SCORERS["original", 3](["un [MASK]"])
    assert scored.tokens == ("un", "[UNK]", "[UNK]", "[UNK]")


def test_models_that_cannot_score_are_refused(tmp_path):
    with pytest.raises(UserError, match="got a BertModel, which has no masked-LM head"):
        SentenceScorer(models.pretrained("BertModel", models.tokenizer()))
    with pytest.raises(UserError, match="got a checkpoint without a vocabulary"):
        SentenceScorer(models.pretrained("BertForPreTraining"))
    with pytest.raises(UserError, match="got form='original'; expected ORIGINAL"):
        SentenceScorer(PRETRAINED, "original")
    params = {
        **PRETRAINED.params,
        "mlm": jax.tree.map(lambda x: x + 3e38, PRETRAINED.params["mlm"]),
    }
    with pytest.raises(UserError, match="so large that the probabilities are not"):
        SentenceScorer(dataclasses.replace(PRETRAINED, params=params))("un")
    save_ours(PRETRAINED, tmp_path / "checkpoints" / "3")
    assert SentenceScorer.from_pretrained(tmp_path, batch_size=3)("un") == SCORERS["original", 3](
        "un"
    )
