"""Rows are as long as a model reads, and no longer; texts come back in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.data.row_layout import (
    close_lengths,
    lay_out,
    length_for,
    rounded_up,
    row_lengths,
    sequences_of,
    sorted_rows,
    windows,
)
from bert_jax.text.encoding import Encoding


def encoding(length, number):
    ids = [7 + number] * length
    return Encoding(ids, [1] * length, ["x"] * length, [(0, 0)] * length)


def test_lengths_of_rows_end_at_the_models_positions():
    assert row_lengths(40) == (16, 32, 40)
    assert row_lengths(512)[-2:] == (496, 512)
    assert row_lengths(8) == (8,)
    assert length_for(33, row_lengths(40)) == 40
    for positions in (20, 24, 100, 512):
        for needed in range(1, positions + 1):
            for step in (8, 16, 64):
                assert needed <= rounded_up(needed, step, positions) <= positions
    assert rounded_up(20, 64) == 64 and rounded_up(20, 64, 512) == 64


def test_close_lengths_waste_less_than_a_quarter():
    assert close_lengths(40) == (4, 8, 12, 16, 20, 24, 28, 32, 40)
    assert close_lengths(3) == (3,) and close_lengths(16) == (4, 8, 12, 16)
    for positions in (20, 24, 100, 512, 1000):
        lengths = close_lengths(positions)
        assert len(lengths) <= 32 and lengths == tuple(sorted(set(lengths)))
        for needed in range(17, positions + 1):
            assert needed <= length_for(needed, lengths) < 1.25 * needed
        assert lengths[-1] == positions


@pytest.mark.parametrize("positions", [20, 24, 100, 512])
@given(st.data())
def test_every_text_is_in_one_row_with_all_its_pieces(positions, data):
    lengths = data.draw(st.lists(st.integers(1, min(70, positions)), max_size=40))
    batch_rows = data.draw(st.integers(1, 9))
    sequences = sequences_of([encoding(length, i) for i, length in enumerate(lengths)])
    seen = []
    for rows in sorted_rows(sequences, batch_rows, row_lengths(positions)):
        batch = lay_out(sequences, rows, pad_id=3)
        assert batch["input_ids"].shape == (batch_rows, rows.length)
        assert rows.length % 16 == 0 or rows.length == positions
        assert rows.length - 16 < max(lengths[i] for i in rows.texts) <= rows.length <= positions
        for row in range(batch_rows):
            text = int(rows.texts[row]) if row < len(rows.texts) else None
            length = 0 if text is None else lengths[text]
            assert batch["instance_ids"][row].tolist() == [1] * length + [0] * (
                rows.length - length
            )
            assert (batch["input_ids"][row, length:] == 3).all()
            if text is not None:
                assert (batch["input_ids"][row, :length] == 7 + text).all()
                assert batch["token_type_ids"][row].sum() == length
        seen += rows.texts.tolist()
    assert sorted(seen) == list(range(len(lengths)))
    assert [lengths[i] for i in seen] == sorted(lengths)


def test_windows_stream_in_order():
    read = []

    def source():
        for i in range(1000):
            read.append(i)
            yield i

    cut = windows(source(), 2)
    assert next(cut) == list(range(64))
    assert len(read) == 64  # no more than one window is held
    assert [i for window in cut for i in window] == list(range(64, 1000))


def test_a_window_is_as_many_items_as_fill_its_rows():
    cut = windows([20, 50, 1, 63, 64, 2], 2, lambda rows: rows)
    assert list(cut) == [[20, 50], [1, 63], [64], [2]]
