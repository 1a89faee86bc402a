import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.tables.row_surgery import (
    resize_positions,
    resize_segments,
    resized_positions,
    resized_segments,
)
from tests.tables.examples import small_tables

TABLE = np.array([[0, 10], [1, 20], [2, 30], [3, 40]], np.float32)


def test_positions_literally():
    assert resized_positions(TABLE, 10, "copy")[:, 0].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    interpolated = resized_positions(TABLE, 10, "interpolate")
    np.testing.assert_allclose(interpolated[:, 0], np.arange(10) / 3, rtol=1e-6)
    np.testing.assert_allclose(interpolated[:, 1], 10 + np.arange(10) * 10 / 3, rtol=1e-6)
    assert resized_positions(TABLE, 2, "interpolate").tolist() == [[0, 10], [1, 20]]
    assert resized_positions(TABLE[:1], 3, "interpolate").tolist() == [[0, 10]] * 3


SIZES = st.tuples(st.integers(1, 40), st.integers(1, 90), st.sampled_from(["copy", "interpolate"]))


@given(SIZES)
def test_rows_that_are_old_ones_are_so_bit_for_bit(sizes):
    old, new, rule = sizes
    table = np.random.default_rng(0).normal(size=(old, 3)).astype(np.float32)
    resized = resized_positions(table, new, rule)
    assert (resized.shape, resized.dtype) == ((new, 3), np.float32)
    if new <= old or rule == "copy":
        expected = table[np.arange(new) % old]
        np.testing.assert_array_equal(resized, expected)
        return
    np.testing.assert_array_equal(resized[[0, -1]], table[[0, -1]])
    doubled = resized_positions(table, 2 * old - 1, rule)
    np.testing.assert_array_equal(doubled[::2], table)
    assert (resized <= table.max(axis=0)).all() and (resized >= table.min(axis=0)).all()


def test_segments_literally():
    assert resized_segments(TABLE[:2], 4).tolist() == [[0, 10], [1, 20], [0.5, 15], [0.5, 15]]
    assert resized_segments(TABLE[:2], 3, copy_of=1).tolist() == [[0, 10], [1, 20], [1, 20]]
    assert resized_segments(TABLE[:2], 1).tolist() == [[0, 10]]
    np.testing.assert_array_equal(resized_segments(TABLE, 4), TABLE)


def test_of_tables_nothing_else_changes():
    tables = small_tables()
    longer = resize_segments(resize_positions(tables, 12, "interpolate"), 4)
    assert (longer.position.shape, longer.segment.shape) == ((12, 4), (4, 4))
    for name in ("token", "norm_scale", "norm_bias", "tokenizer"):
        assert getattr(longer, name) is getattr(tables, name)


def test_mistakes_are_named():
    for wrong, message in {
        lambda: resized_positions(TABLE, 0, "copy"): "got 0 positions; expected at least 1",
        lambda: resized_positions(TABLE, 9, "cubic"): "'cubic'; expected copy or interpolate",
        lambda: resized_segments(TABLE, 0): "got 0 segment kinds",
        lambda: resized_segments(TABLE, 5, 4): "got segment 4 to copy; expected 0 to 3",
        lambda: resized_segments(TABLE, 5, -1): "got segment -1 to copy",
    }.items():
        with pytest.raises(UserError, match=message):
            wrong()
