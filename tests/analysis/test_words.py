import numpy as np
import pytest

from bert_jax.analysis.words import find_outlier, solve_analogies, split_words
from bert_jax.errors import UserError
from bert_jax.text.tokenizer import SPECIAL_PIECES, Tokenizer

TOKENIZER = Tokenizer([*SPECIAL_PIECES, "cat", "dog", "##s", "a"])
TABLE = np.arange(18, dtype=np.float32).reshape(9, 2)


def test_a_word_is_the_mean_of_its_pieces():
    words = split_words(TOKENIZER, ["cat", "Dogs", "xyz", "a cat", ""])
    assert [p.tolist() for p in words.pieces] == [[5], [6, 7], [], [8, 5], []]
    assert words.known.tolist() == [True, True, False, True, False]
    assert words.single.tolist() == [5, -1, -1, -1, -1]
    vectors = words.vectors(TABLE)
    assert vectors[[0, 1, 3]].tolist() == [[10, 11], [13, 14], [13, 14]]
    assert np.isnan(vectors[[2, 4]]).all()
    assert words.seen(np.arange(9)).tolist() == [5, 6, 0, 5, 0]


def test_king_less_man_more_woman_is_queen():
    # man, woman, king, queen, and three others that make the mean row the origin
    table = np.array(
        [[1, -1, 0], [1, 1, 0], [1, -1, 1], [1, 1, 1], [-2, 0, 0], [-2, 0, -2], [0] * 3]
    )
    found = solve_analogies(
        table.astype(np.float32), np.array([0]), np.array([2]), np.array([1]), 1
    )
    assert found.ids.tolist() == [[3]]


def test_the_outlier_is_the_one_that_points_elsewhere():
    vectors = np.array([[1, 0.1], [1, 0], [0, 1], [1, -0.1]]) + 5.0
    found = find_outlier(vectors, centre=5.0)
    assert found.index == 2
    cosine = 1 / np.sqrt(1.01)
    np.testing.assert_allclose(found.fit[1], (cosine + 0 + cosine) / 3, rtol=1e-5)
    with pytest.raises(UserError, match="got 2 words; expected at least 3"):
        find_outlier(vectors[:2])
