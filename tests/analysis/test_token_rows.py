"""One pair of rows has one cosine, wherever it is looked up."""

import numpy as np
import pytest

from bert_jax.analysis.nearest import directions, nearest_rows
from bert_jax.analysis.nearest_of_all import all_neighbours
from bert_jax.analysis.similarity import ScoredPairs
from bert_jax.analysis.token_rows import TokenRows, examples
from bert_jax.analysis.words import neighbours, split_words, word_neighbours, word_similarity
from bert_jax.errors import UserError
from bert_jax.tables.embedding_tables import EmbeddingTables
from bert_jax.text.tokenizer import SPECIAL_PIECES, Tokenizer

PIECES = [*SPECIAL_PIECES, "[unused1]", "cat", "dog", "cow", "##s", "it", "red", "blue", "7"]


@pytest.fixture(scope="module")
def tables():
    """Rows round a common part; special, unused and padding rows lie far away."""
    draw = np.random.default_rng(0)
    token = draw.standard_normal((len(PIECES) + 2, 8)).astype(np.float32) + 1
    token[:6] += 30
    token[-2:] -= 50
    small = draw.standard_normal((2, 8))
    return EmbeddingTables(token, small, small, np.ones(8), np.zeros(8), Tokenizer(PIECES))


def cosine(tables, one, other):
    a, b = (tables.token[PIECES.index(p)] - tables.token[6:-2].mean(axis=0) for p in (one, other))
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_rows_that_no_text_reaches_have_no_part_in_the_centre(tables):
    rows = TokenRows(tables)
    assert rows.ordinary.tolist() == list(range(6, len(PIECES)))
    assert rows.pieces[-1] == f"[row {len(PIECES) + 1}]"
    np.testing.assert_allclose(rows.centre, tables.token[6:-2].mean(axis=0), atol=1e-6)


def test_tables_without_a_vocabulary_are_seen_from_the_mean_of_all(tables):
    rows = TokenRows(tables.replace(tokenizer=None))
    np.testing.assert_allclose(rows.centre, tables.token.mean(axis=0), atol=1e-5)
    with pytest.raises(UserError, match="without a vocabulary"):
        neighbours(tables.replace(tokenizer=None), ["cat"])


def test_one_pair_has_one_cosine_whoever_may_be_a_neighbour(tables):
    rows, wanted = TokenRows(tables), cosine(tables, "cat", "dog")
    cat, dog = PIECES.index("cat"), PIECES.index("dog")
    found = [
        {n.piece: n.cosine for n in neighbours(tables, ["cat"], candidates=some)["cat"]}["dog"]
        for some in (None, np.array([dog, 8]), np.array([dog]))
    ]
    for some in (rows.ordinary, np.array([dog, 10])):
        for near in (
            nearest_rows(tables.token, np.array([cat]), 20, some, rows.centre).of(0),
            all_neighbours(tables.token, 20, some, rows.centre).of(cat),
            word_neighbours(rows, split_words(rows.tokenizer, ["cat"]), 20, some).of(0),
        ):
            found.append(dict(near)[dog])
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    units = directions(tables.token[[cat, dog]], rows.centre)
    assert units[0] @ units[1] == pytest.approx(wanted, abs=1e-5)


def test_word_similarity_orders_pairs_by_that_cosine(tables):
    pairs = [("cat", "dog"), ("cat", "red"), ("cow", "blue"), ("dog", "it"), ("red", "blue")]
    first, second = zip(*pairs, strict=True)
    scores = np.array([cosine(tables, *pair) for pair in pairs])
    assert word_similarity(tables, ScoredPairs("mine", first, second, scores)).rho == 1


def test_neighbours_are_pieces_with_cosine_and_row(tables):
    near = neighbours(tables, ["cat", "dogs"], k=2)
    assert list(near) == ["cat", "dogs"] and [len(found) for found in near.values()] == [2, 2]
    assert not {"dog", "##s"} & {one.piece for one in near["dogs"]}
    piece, value, row = near["cat"][0]
    assert PIECES[row] == piece and value == pytest.approx(cosine(tables, "cat", piece), abs=1e-5)
    with pytest.raises(UserError, match="got 'zebrañ'; expected words that the vocabulary can"):
        neighbours(tables, ["cat", "zebrañ"])


def test_whole_words_come_by_frequency_and_examples_are_of_the_middle(tables):
    rows = TokenRows(tables)
    assert [rows.pieces[i] for i in rows.words()] == ["cat", "dog", "cow", "red", "blue"]
    counts = np.zeros(len(tables.token), int)
    counts[[7, 8, 11]] = 5, 100, 7
    assert [rows.pieces[i] for i in rows.words(counts, 6)] == ["cow", "red"]
    assert examples(np.arange(1000)).tolist() == [50, 100, 170, 260, 370, 500]
    assert examples(np.arange(3)).tolist() == [2] and examples(np.arange(0)).tolist() == []
