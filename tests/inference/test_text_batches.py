import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.inference.text_batches import in_windows, text_batches
from bert_jax.text.encoding import Encoding


def encoding(length, number):
    ids = [7 + number] * length
    return Encoding(ids, [1] * length, ["x"] * length, [(0, 0)] * length)


@given(st.lists(st.integers(1, 70), max_size=40), st.integers(1, 9))
def test_every_text_is_in_one_row_with_all_its_pieces(lengths, batch_size):
    encodings = [encoding(length, number) for number, length in enumerate(lengths)]
    seen = []
    for batch in text_batches(encodings, batch_size, pad_id=3):
        rows, width = batch.input_ids.shape
        assert rows == batch_size and width % 16 == 0
        assert width - 16 < max(lengths[i] for i in batch.texts) <= width
        for row in range(rows):
            number = int(batch.texts[row]) if row < len(batch.texts) else None
            length = 0 if number is None else lengths[number]
            assert batch.attention_mask[row].tolist() == [True] * length + [False] * (
                width - length
            )
            assert (batch.input_ids[row, length:] == 3).all()
            if number is not None:
                assert (batch.input_ids[row, :length] == 7 + number).all()
                assert batch.token_type_ids[row].sum() == length
        seen += batch.texts.tolist()
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
