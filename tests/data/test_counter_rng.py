import numpy as np
from scipy import stats

from bert_jax.data.counter_rng import (
    random_bits,
    random_index,
    scale_to_range,
    shuffled,
    stream_key,
    substream,
)

KEY = np.uint64(1234567)


def bits(counter: int, key: np.uint64 = KEY) -> int:
    return int(random_bits(key, np.uint64(counter)))


def test_bits_are_the_published_outputs_of_splitmix64():
    # The first outputs of the reference implementation in C seeded with 1234567.
    assert [bits(n) for n in range(5)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_range_is_the_upper_half_scaled():
    assert scale_to_range(np.uint64(0), 10) == 0
    assert scale_to_range(np.uint64(2**64 - 1), 10) == 9
    assert scale_to_range(np.uint64(2**63), 10) == 5
    assert scale_to_range(np.uint64(2**32 - 1), 2**31) == 0
    assert scale_to_range(np.uint64(2**64 - 1), 2**31) == 2**31 - 1


def test_indices_are_uniform_and_uncorrelated():
    draws = np.array([random_index(KEY, np.uint64(n), 16) for n in range(32000)])
    assert stats.chisquare(np.bincount(draws, minlength=16)).pvalue > 1e-4
    pairs = np.bincount(draws[:-1] * 16 + draws[1:], minlength=256)
    assert stats.chisquare(pairs).pvalue > 1e-4


def test_neighbouring_streams_differ():
    keys = {int(substream(np.uint64(a), b)) for a in range(60) for b in range(60)}
    assert len(keys) == 3600
    draws = [bits(n, np.uint64(substream(KEY, b))) for b in range(50) for n in range(50)]
    assert len(set(draws)) == 2500


def test_stream_key_depends_on_order_number_and_sign():
    paths = [(), (0,), (0, 0), (1, 2), (2, 1), (1, 2, 0), (-1,), (1,)]
    assert len({int(stream_key(*path)) for path in paths}) == len(paths)
    assert stream_key(2**64 + 1) == stream_key(1)
    assert isinstance(stream_key(1, 2), np.uint64)


def test_shuffle_is_a_permutation_and_uniform():
    assert shuffled(KEY, 0).tolist() == []
    assert sorted(shuffled(KEY, 1000).tolist()) == list(range(1000))
    orders = [tuple(shuffled(np.uint64(key), 4).tolist()) for key in range(4800)]
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-4
