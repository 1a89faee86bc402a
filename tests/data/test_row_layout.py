"""Rows are as long as a model reads, and no longer; texts come back in order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.data.row_layout import (
    in_windows,
    lay_out,
    length_for,
    rounded_up,
    row_lengths,
    sequences_of,
    sorted_rows,
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

    results = in_windows(source(), 2, lambda window: [np.sqrt(i) for i in window])
    assert next(results) == 0
    assert len(read) == 64  # no more than one window is held
    assert list(results) == [np.sqrt(i) for i in range(1, 1000)]
