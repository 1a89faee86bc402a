import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from bert_jax import BertConfig, BertForSentenceEmbedding
from bert_jax.convert.sentence_encoders import SentenceEncoder
from bert_jax.errors import UserError
from bert_jax.pooling import CLS
from bert_jax.tasks.examples import Columns
from bert_jax.tasks.head_start import head_start
from bert_jax.tasks.kinds import task_of
from bert_jax.tasks.predictor import Predictor
from bert_jax.tasks.similarity import HEAD, Similarity, own_ranks, pair_sums
from bert_jax.tasks.texts import TextExample
from tests.tasks.examples import TOKENIZER, tiny_pretrained


def batch_of(labels, scored, weights):
    columns = {"labels": labels, "scored": scored, "weights": weights}
    return {k: jnp.asarray(v, jnp.float32)[:, None] for k, v in columns.items()}


def test_a_scored_pair_costs_the_square_of_what_its_cosine_misses():
    vectors = jnp.array([[3.0, 0], [1, 1], [0, 2], [0, -1]])[:, None]  # cosines .7071 and -1
    batch = batch_of([1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 1, 0])
    sums = pair_sums(vectors, batch, 2, None)
    assert float(sums["nats"]) == pytest.approx((1 - 0.5**0.5) ** 2 + 1, rel=1e-6)
    assert float(sums["weight"]) == 2


def test_a_pair_alone_is_told_from_the_second_texts_of_the_batch():
    vectors = jnp.array([[1.0, 0], [2, 0], [0, 3], [0, 1], [7, 7], [9, 9]])[:, None]
    alone = batch_of([0] * 6, [0] * 6, [1, 0, 1, 0, 0, 0])  # the third pair fills the batch up
    found = pair_sums(vectors, alone, 2, None)
    # Two candidates, cosines 1 and 0, times 20: each costs ln(1 + e^-20).
    assert float(found["nats"]) == pytest.approx(2 * np.log1p(np.exp(-20)), abs=1e-6)
    crossed = pair_sums(vectors[jnp.array([0, 3, 2, 1, 4, 5])], alone, 2, None)
    assert float(crossed["nats"]) == pytest.approx(40, rel=1e-6)


def test_a_scored_pair_is_nobodys_wrong_answer():
    vectors = jnp.array([[1.0, 0], [1, 0], [1, 0], [1, 0]])[:, None]
    mixed = batch_of([0, 0, 1, 1], [0, 0, 1, 1], [1, 0, 1, 0])
    assert float(pair_sums(vectors, mixed, 2, None)["nats"]) == pytest.approx(0, abs=1e-6)


@given(st.integers(1, 40), st.integers(0, 5))
def test_ranks_are_those_of_a_sort(n, seed):
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, n, 3))
    cosines = (first / np.linalg.norm(first, axis=1, keepdims=True)) @ (
        second / np.linalg.norm(second, axis=1, keepdims=True)
    ).T
    by_sort = [1 + list(np.argsort(-row)).index(i) for i, row in enumerate(cosines)]
    assert own_ranks(first, second).tolist() == by_sort


def test_the_vector_of_a_sentence_is_the_mean_of_its_real_tokens_packed_or_not():
    config = BertConfig.tiny(vocab_size=TOKENIZER.vocab_size)
    model = BertForSentenceEmbedding(config, nnx.Rngs(0))
    a, b = [2, 7, 8, 3], [2, 9, 3]
    alone = model(np.array([a]))
    np.testing.assert_allclose(
        alone.sentence_embeddings, alone.last_hidden_state.mean(axis=1), rtol=1e-5, atol=1e-6
    )
    padded = model(np.array([[*a, 0, 0]]), attention_mask=np.array([[1, 1, 1, 1, 0, 0]]))
    packed = model(
        np.array([[*a, *b, 0]]), None, np.array([[1, 1, 1, 1, 2, 2, 2, 0]]),
        np.array([[0, 1, 2, 3, 0, 1, 2, 0]]), np.array([[0, 4]]),
    )  # fmt: skip
    np.testing.assert_allclose(padded.sentence_embeddings, alone.sentence_embeddings, atol=1e-5)
    np.testing.assert_allclose(
        packed.sentence_embeddings[0],
        [alone.sentence_embeddings[0], model(np.array([b])).sentence_embeddings[0]],
        atol=1e-5,
    )


def example(text, pair, label=None, line=1):
    return TextExample(text, pair, label, "x.tsv", line)


def test_scores_are_stretched_over_0_to_1_and_back():
    train = [example("you", "i", "2"), example("cats", "dogs", 5), example("i", "you", 3.5)]
    task = Similarity.of_examples({"train": train}, 16)
    assert (task.lowest, task.highest) == (2.0, 5.0)
    labels = task.prepare(train, TOKENIZER).features.labels
    np.testing.assert_allclose(labels, [0, 0, 1, 1, 0.5, 0.5])
    vectors = np.array([[1.0, 0], [0, 1], [1, 0], [1, 0], [1, 0], [1, 1]], np.float32)
    said = list(task.predictions(train, task.prepare(train, TOKENIZER), vectors))
    assert [row["value"] for row in said] == pytest.approx([2.0, 5.0, 2 + 3 * 0.5**0.5])
    assert said[0]["truth"] == 2.0 and said[1]["cosine"] == pytest.approx(1.0)


def test_without_scores_it_is_judged_by_what_it_finds_again():
    pairs = [example("you", "i"), example("cats", "dogs")]
    task = Similarity.of_examples({"train": pairs}, 16)
    prepared = task.prepare(pairs, TOKENIZER)
    vectors = np.array([[1.0, 0], [1, 0.1], [0, 1], [1, 0.2]], np.float32)
    assert task.scores(pairs, prepared, vectors) == {"mean_reciprocal_rank": 1.0, "accuracy": 1.0}
    swapped = vectors[[0, 3, 2, 1]]
    assert task.scores(pairs, prepared, swapped) == {"mean_reciprocal_rank": 0.5, "accuracy": 0.0}


def test_what_is_read(tmp_path):
    table = tmp_path / "x.tsv"
    table.write_text("text\tpair\nyou\ti\n")
    assert Similarity.read(table, Columns()) == [TextExample("you", "i", None, str(table), 2)]
    assert [e.pair for e in Similarity.read([("a", "b"), ("c", "d")], Columns())] == ["b", "d"]
    assert Similarity.read([("a", "b", 3)], Columns())[0].label == 3
    with pytest.raises(UserError, match="got text_pair_column=pair, which"):
        Similarity.read([{"text": "a", "label": 1}], Columns())
    with pytest.raises(UserError, match=r"got the score 3 only in x\.tsv; expected at least two"):
        Similarity.of_examples({"train": [example("a", "b", 3)] * 2}, 16)


def test_a_sentence_encoder_of_others_compares_texts():
    pretrained = dataclasses.replace(tiny_pretrained(), sentences=SentenceEncoder(max_length=9))
    task = task_of(pretrained)
    assert task == Similarity(9)
    bare, by_cls = (
        dataclasses.replace(pretrained, sentences=sentences)
        for sentences in (None, SentenceEncoder((CLS,)))
    )
    for other in (bare, by_cls):
        with pytest.raises(UserError, match="a checkpoint of BertModel, which has no task"):
            task_of(other)


def test_an_encoder_that_was_never_fine_tuned_compares_texts():
    task = Similarity.of_checkpoint(tiny_pretrained(), {"max_length": 16})
    assert task.head is HEAD
    rows = Predictor(tiny_pretrained(), task)([("the cats", "the cats"), ("you", "i")])
    assert rows[0]["cosine"] == pytest.approx(1.0) and rows[1]["cosine"] < 1
    assert "value" not in rows[0]
    with pytest.raises(UserError, match="item 1: got the one text 'you'; expected two"):
        Predictor(tiny_pretrained(), task)(["you"])


def test_that_there_is_no_output_layer_is_said():
    task, pretrained = Similarity(16), tiny_pretrained()
    assert "no output layer: the encoder" in head_start(pretrained, task.head, ()).said
    of_first = dataclasses.replace(pretrained, sentences=SentenceEncoder(poolings=(CLS,)))
    assert head_start(of_first, task.head, ()).said == (
        "there is no output layer: the encoder itself learns, by the mean of its vectors; how it"
        " made sentence vectors until now is left out"
    )
    layer = {"classifier": {"kernel": np.zeros((32, 3)), "bias": np.zeros(3)}}
    of_three = dataclasses.replace(
        pretrained,
        params=pretrained.params | layer,
        architecture="BertForSequenceClassification",
    )
    start = head_start(of_three, task.head, ())
    assert start.pretrained.params.keys() == {"bert"}
    assert start.said == (
        "there is no output layer; left out: the checkpoint's, of BertForSequenceClassification"
    )
