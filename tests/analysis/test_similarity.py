import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.analysis.geometry import all_but_the_top, spectrum_of, whitened
from bert_jax.analysis.similarity import agreement, distinct_texts, read_scored_pairs, spearman
from bert_jax.errors import UserError


def write(tmp_path, text):
    path = tmp_path / "pairs.txt"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "old\tnew\t1.5\ntiger\tcat\t7\n",
        "word1\tword2\tscore\nold\tnew\t1.5\n\ntiger\tcat\t7.0",
        "old new 1.5\ntiger cat 7\n",
        "main\tMSR\t2012\t1\t1.5\told\tnew\nmain\tMSR\t2012\t2\t7\ttiger\tcat\textra\n",
    ],
)
def test_three_columns_and_those_of_the_sts_benchmark_are_read(tmp_path, text):
    pairs = read_scored_pairs(write(tmp_path, text))
    assert pairs.name == "pairs"
    assert (pairs.first, pairs.second) == (("old", "tiger"), ("new", "cat"))
    assert pairs.scores.tolist() == [1.5, 7.0]


def test_a_sentence_may_hold_spaces(tmp_path):
    pairs = read_scored_pairs(write(tmp_path, "a man runs \ta dog sits \t3.3\n"))
    assert (pairs.first, pairs.second) == (("a man runs",), ("a dog sits",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\t1\na\tb\n", "got 'a\\tb' in line 2"),
        ("a\tb\t1\na\tb\tmany\n", "in line 2"),
        ("a\tb\tnan\nc\td\te\n", "in line 2"),
        ("\n", "which holds no pairs"),
        ("heading only\n", "which holds no pairs"),
    ],
)
def test_a_line_that_is_no_pair_is_named(tmp_path, text, message):
    with pytest.raises(UserError, match="expected two texts and a") as raised:
        read_scored_pairs(write(tmp_path, text))
    assert message in str(raised.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="cannot be read as text"):
        read_scored_pairs(tmp_path / "nowhere.txt")


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=4, max_size=40))
def test_spearman_is_scipys(pairs):
    x, y = np.array(pairs, float).T
    found = spearman(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert math.isnan(found.rho)
        return
    assert found.rho == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)
    assert -1 <= found.low <= found.rho <= found.high <= 1


def test_the_interval_is_bonett_and_wrights():
    x = np.arange(103.0)
    y = np.where(x % 2, x, 102 - x)  # half the pairs agree, half are reversed
    found = spearman(x, y)
    error = 1.959964 * math.sqrt((1 + found.rho**2 / 2) / 100)
    assert math.atanh(found.high) - math.atanh(found.rho) == pytest.approx(error, rel=1e-6)
    assert math.atanh(found.rho) - math.atanh(found.low) == pytest.approx(error, rel=1e-6)


def test_the_interval_holds_the_truth_in_nineteen_cases_of_twenty():
    draw = np.random.default_rng(0)
    truth = 6 / math.pi * math.asin(0.6 / 2)  # of normal variables of correlation 0.6
    inside = 0
    for _ in range(1000):
        x = draw.standard_normal(60)
        found = spearman(x, 0.6 * x + 0.8 * draw.standard_normal(60))
        inside += found.low <= truth <= found.high
    assert 930 <= inside <= 970  # 950 expected, standard deviation 7


def test_a_pair_without_a_vector_is_left_out_and_counted():
    first = np.array([[1.0, 0], [1, 0], [1, 0], [np.nan, 0], [1, 0]])
    second = np.array([[1.0, 0], [1, 1], [0, 1], [1, 0], [-1, 0]])
    found = agreement(first, second, np.array([9.0, 5, 3, 1, 0]))
    assert (found.rho, found.pairs, found.of, found.coverage) == (1.0, 4, 5, 0.8)


def test_texts_are_numbered_once(tmp_path):
    pairs = read_scored_pairs(write(tmp_path, "a\tb\t1\nb\tc\t2\n"))
    texts, first, second = distinct_texts(pairs)
    assert texts == ("a", "b", "c")
    assert (first.tolist(), second.tolist()) == ([0, 1], [1, 2])


def test_all_but_the_top_takes_off_the_mean_and_the_strongest_direction():
    draw = np.random.default_rng(0)
    rows = draw.standard_normal((500, 3)) * [9, 1, 1] + [50, 0, 0]
    cleaned = all_but_the_top(rows, spectrum_of(rows))
    np.testing.assert_allclose(cleaned.mean(axis=0), 0, atol=1e-9)
    assert np.abs(cleaned[:, 0]).max() < 1.0  # it pointed along the first axis, nearly


def test_whitened_rows_are_round_and_a_flat_direction_stays_flat():
    rows = np.random.default_rng(0).standard_normal((400, 3)) @ np.array(
        [[2.0, 1, 0], [0, 5, 0], [0, 0, 0]]
    )
    white = whitened(rows, spectrum_of(rows))
    np.testing.assert_allclose(white.T @ white / 400, np.diag([1, 1, 0]), atol=1e-6)
