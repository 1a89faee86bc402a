"""Positions read from tables of which it is known how well they can be."""

import numpy as np
import pytest

from bert_jax.analysis.position_reading import read_positions, read_random, sinusoid
from bert_jax.errors import UserError


def test_the_sinusoid_is_that_of_the_formula():
    expected = [[0, 1, 0, 1, 0], [np.sin(1), np.cos(1), np.sin(10**-1.6), np.cos(10**-1.6)]]
    found = sinusoid(2, 5)
    np.testing.assert_allclose(found[0], expected[0])
    np.testing.assert_allclose(found[1, :4], expected[1])
    assert found[1, 4] == pytest.approx(np.sin(10**-3.2))


def test_a_line_is_read_without_error():
    direction = np.random.default_rng(0).standard_normal(6)
    found = read_positions(np.arange(40)[:, None] * direction, draws=2)
    assert (found.absolute, found.ridge, found.order_unseen) == (0, 0, 0)
    assert found.order < 0.1  # of eight pairs a fold, one that the penalty keeps from being right
    assert set(found.deviations) == {"absolute", "ridge", "order", "order_unseen"}


def test_a_sinusoid_is_read_nearly_without_error():
    found = read_positions(sinusoid(100, 32), draws=1)
    assert found.absolute < 0.2 and found.ridge < 0.2  # it rounds to the right place
    assert found.order_unseen < 0.02


def test_from_random_vectors_nothing_is_read():
    found = read_random(100, 40, draws=1)
    assert 20 < found.ridge < 32  # who always says the middle is wrong by 25
    assert found.absolute > found.ridge  # least squares believe what they have learned
    assert 0.3 < found.order_unseen < 0.7


def test_where_rows_are_as_many_as_dimensions_ridge_still_reads_what_least_squares_cannot():
    draw = np.random.default_rng(0)
    table = draw.standard_normal((100, 80))
    table[:, 0] = 3 * table[:, 0] + np.arange(100)  # wrong by 3, and louder than all others
    found = read_positions(table, draws=1)
    assert 1 < found.ridge < 5 < 10 < found.absolute


def test_no_figure_but_the_published_penalty_depends_on_the_scale():
    table = np.cumsum(np.random.default_rng(0).standard_normal((60, 16)), axis=0)
    small, large = (read_positions(table * scale, draws=1) for scale in (0.03, 3.0))
    assert (small.absolute, small.ridge) == (large.absolute, large.ridge)
    assert small.order_unseen == pytest.approx(large.order_unseen, abs=0.01)


def test_only_the_first_512_rows_are_read_and_ten_are_wanted():
    table = np.cumsum(np.ones((520, 2)), axis=0)
    table[512:] = 1e6
    assert read_positions(table, draws=1).absolute == 0
    with pytest.raises(UserError, match="got a table of 9 rows; expected at least 10"):
        read_positions(np.zeros((9, 4)))


def test_a_table_of_equal_rows_tells_nothing():
    found = read_positions(np.ones((20, 4)), draws=1)
    assert found.ridge == found.absolute and 4 < found.ridge < 7
