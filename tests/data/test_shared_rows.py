"""Every sequence once, in rows of few lengths, with little padding."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.data.row_layout import NO_SEQUENCE, Sequences
from bert_jax.data.shared_rows import SharedRows

POSITIONS = 200


def sequences_of_lengths(lengths):
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return Sequences(np.zeros(starts[-1], np.int32), np.zeros(starts[-1], np.int8), starts)


def test_short_sequences_share_rows_and_long_ones_have_their_own():
    first, second = SharedRows(128, 512)(sequences_of_lengths([70, 30, 9, 30, 12, 5]))
    assert (first.length, first.sequences.tolist()) == (80, [[0, 2, -1, -1]])
    assert (second.length, second.sequences.tolist()) == (64, [[3, 1, -1, -1], [4, 5, -1, -1]])


WINDOWS = st.lists(st.lists(st.integers(2, POSITIONS), min_size=1, max_size=60), max_size=4)


@given(WINDOWS, st.sampled_from([1, 300, 2048]))
@settings(deadline=None)
def test_every_sequence_is_in_one_row_that_holds_it(windows, places):
    shared, shapes = SharedRows(places, POSITIONS), set()
    for lengths in windows:
        batches = shared(sequences_of_lengths(lengths))
        placed = np.concatenate([rows.sequences.ravel() for rows in batches])
        assert sorted(placed[placed != NO_SEQUENCE]) == list(range(len(lengths)))
        for rows in batches:
            shapes.add((*rows.sequences.shape, rows.length))
            held = np.where(rows.sequences >= 0, np.array(lengths)[rows.sequences], 0)
            assert held.sum(axis=1).max() <= rows.length <= POSITIONS
            assert len(rows.sequences) * rows.length <= max(places, rows.length)
            assert (
                np.diff((rows.sequences >= 0).astype(int), axis=1) <= 0
            ).all()  # no gap before a sequence
    assert len(shared.lengths) <= 13
    assert {length for *_, length in shapes} <= set(shared.lengths)


def test_few_shapes_and_little_padding_whatever_comes():
    random = np.random.default_rng(0)
    shared, shapes, places, tokens = SharedRows(2048, 512), set(), 0, 0
    for kind in range(12):
        lengths = np.clip(random.lognormal(2 + kind / 3, 0.6, 400), 3, 512).astype(int)
        tokens += lengths.sum()
        for rows in shared(sequences_of_lengths(lengths)):
            places += len(rows.sequences) * rows.length
            shapes.add((len(rows.sequences), rows.length))
    assert tokens / places > 0.93
    assert len(shared.lengths) <= 13 and len(shapes) <= 40
