import numpy as np
import pytest
from flax import nnx

from bert_jax import Bert, BertConfig, Tokenizer
from bert_jax.analysis.contextuality import contextuality_of, find_occurrences, mean_states
from bert_jax.analysis.hidden_states import HiddenStates, sentence_agreement, text_states
from bert_jax.analysis.similarity import ScoredPairs
from bert_jax.parameters import split_model
from bert_jax.text.tokenizer import SPECIAL_PIECES

TOKENIZER = Tokenizer([*SPECIAL_PIECES, *"abcdef", "##s"])
A, B, C, D, E, F, S = range(5, 12)


def found_in(documents, words, **changes):
    options = {"most": 9, "most_in_document": 9, "length": 6} | changes
    return find_occurrences(
        [np.array(d) for d in documents], [np.array(w, int) for w in words], TOKENIZER, **options
    )


def test_words_are_found_with_what_stands_round_them():
    found = found_in([[B, C, A, D, E, F], [A]], [[A]])
    assert found.rows.tolist() == [
        [2, C, A, D, E, 3],
        [2, A, 3, 0, 0, 0],
    ]
    assert (found.lengths.tolist(), found.starts.tolist()) == ([6, 3], [2, 1])


def test_a_row_stays_in_its_document_and_shows_as_much_of_it_as_fits():
    found = found_in([[A, B, C, D, E], [B, C, D, E, A]], [[A]])
    assert found.rows.tolist() == [[2, A, B, C, D, 3], [2, C, D, E, A, 3]]
    assert found.starts.tolist() == [1, 4]


def test_a_word_is_all_its_pieces_and_no_more():
    found = found_in([[A, S, B, A, C]], [[A], [A, S], []])
    assert found.words.tolist() == [1, 0]
    assert found.starts.tolist() == [1, 3]  # rows [A ##s B A] and [##s B A C]
    assert found.spans.tolist() == [2, 1]


def test_no_more_are_kept_than_wanted():
    found = found_in([[A, A, A], [A, A, A], [A]], [[A], [B]], most=3, most_in_document=2)
    assert found.words.tolist() == [0, 0, 0]
    assert found.rows[:, 1:4].tolist() == [[A, A, A]] * 3


CONFIG = BertConfig(
    vocab_size=12, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=16, max_position_embeddings=40,
)  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return Bert(CONFIG, nnx.Rngs(0))


@pytest.fixture(scope="module")
def hidden(model):
    return HiddenStates(CONFIG, split_model(model)[1])


def states_of(model, ids):
    return np.stack(model([ids], output_hidden_states=True).hidden_states)[:, 0]


def test_the_mean_states_of_a_word_are_the_models(model, hidden):
    found = found_in([[B, A, S, C], [A, S], [D]], [[A, S], [F], [D]])
    means = mean_states(hidden, found, words=3)
    first, second = states_of(model, [2, B, A, S, C, 3]), states_of(model, [2, A, S, 3])
    wanted = (first[:, 2:4].mean(axis=1) + second[:, 1:3].mean(axis=1)) / 2
    np.testing.assert_allclose(means[:, 0], wanted, atol=1e-5)
    assert np.isnan(means[:, 1]).all()
    np.testing.assert_allclose(means[:, 2], states_of(model, [2, D, 3])[:, 1], atol=1e-5)


def test_texts_of_any_length_are_pooled_as_if_alone(model, hidden):
    texts = [TOKENIZER.encode(" ".join("abcdef"[i % 6] for i in range(n))) for n in (3, 30, 1, 16)]
    seen = []
    for numbers, states in text_states(hidden, texts):
        for number, (cls, mean) in zip(numbers, states.transpose(1, 2, 0, 3), strict=True):
            wanted = states_of(model, texts[number].ids)
            np.testing.assert_allclose(cls, wanted[:, 0], atol=1e-5)
            np.testing.assert_allclose(mean, wanted.mean(axis=1), atol=1e-5)
            seen.append(int(number))
    assert sorted(seen) == [0, 1, 2, 3]


@pytest.mark.parametrize("positions", [20, 24, 100])
def test_texts_and_words_are_read_up_to_the_models_own_length(positions):
    model = Bert(CONFIG.replace(max_position_embeddings=positions), nnx.Rngs(0))
    hidden = HiddenStates(model.config, split_model(model)[1])
    pieces = [A + i % 6 for i in range(3 * positions)]
    texts = [TOKENIZER.encode(" ".join("abcdef" * positions), max_length=n) for n in (positions, 5)]
    for numbers, states in text_states(hidden, texts):
        for number, pooled in zip(numbers, states.transpose(1, 2, 0, 3), strict=True):
            wanted = states_of(model, texts[number].ids)
            np.testing.assert_allclose(pooled, [wanted[:, 0], wanted.mean(axis=1)], atol=1e-5)
    found = found_in([pieces], [[D]], length=positions, most=1)
    means = mean_states(hidden, found, words=1)
    row, at = found.rows[0], found.starts[0]
    assert found.lengths[0] == positions and row[at] == D
    np.testing.assert_allclose(means[:, 0], states_of(model, row.tolist())[:, at], atol=1e-5)
    pairs = ScoredPairs("p", ("a b " * positions, "a", "c"), ("b", "f", "d"), np.arange(3.0))
    assert len(sentence_agreement(hidden, TOKENIZER, pairs)["mean"]) == 3


def test_sentences_are_scored_at_every_layer(hidden):
    pairs = ScoredPairs("p", ("a b", "a", "c d"), ("a b", "f e d", "d"), np.array([5.0, 1, 3]))
    found = sentence_agreement(hidden, TOKENIZER, pairs)
    assert {name: len(layers) for name, layers in found.items()} == {"cls": 3, "mean": 3}
    assert all(layer.pairs == 3 for layers in found.values() for layer in layers)


def test_contextuality_by_hand():
    # Two words, two occurrences each, and one that occurs once. At layer 0 all stand on their
    # rows; at layer 1 the first word's occurrences are at right angles to each other.
    rows = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1], [1, 1]])
    later = np.array([[1.0, 0], [0, 2], [0, 1], [0, 1], [1, 1]])
    found = contextuality_of(np.stack([rows, later]), np.array([4, 4, 1, 1, 0]), rows)
    assert (found.words, found.occurrences) == (2, 4)
    assert found.self_similarity == pytest.approx([1, 0.5])
    assert found.baseline == pytest.approx([0, 0.5])
    assert found.adjusted == pytest.approx([1, 0])
    assert found.to_input_row == pytest.approx([1, 0.75])
    assert found.to_input_state == pytest.approx([1, 0.75])


def test_nothing_to_compare_is_no_number():
    found = contextuality_of(np.ones((2, 1, 3)), np.array([7]), np.ones((1, 3)))
    assert found.words == 0 and np.isnan(found.self_similarity).all()
