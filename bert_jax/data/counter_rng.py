"""Random numbers without a state: the n-th draw of a stream is a hash of (key, n).

A generator with a state must be read in order; here any draw can be made alone, on any host, in any
process and in any order, which is what makes a batch a pure function of (corpus, seed, step). All
arithmetic is on unsigned 64-bit integers, so results are the same on every machine and version.

The hash is the output function of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom
number generators", OOPSLA 2014): draw n of key k equals the (n+1)-th output of a SplitMix64
generator seeded with k.
"""

import numpy as np

from bert_jax.data.compiling import compiled

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIER_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLIER_2 = np.uint64(0x94D049BB133111EB)
_ONE = np.uint64(1)
_LOW_32_BITS = np.uint64(0xFFFFFFFF)
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32))


@compiled
def random_bits(key: np.uint64, counter: np.uint64) -> np.uint64:
    """Return the 64 random bits number `counter` of the stream `key` (both uint64)."""
    bits = key + (counter + _ONE) * _GOLDEN
    bits = (bits ^ (bits >> _SHIFTS[0])) * _MULTIPLIER_1
    bits = (bits ^ (bits >> _SHIFTS[1])) * _MULTIPLIER_2
    return bits ^ (bits >> _SHIFTS[2])


@compiled
def scale_to_range(bits: np.uint64, size: int) -> np.int64:
    """Map the upper 32 of 64 random bits to an int in [0, size), for 1 <= size <= 2**31.

    A multiplication and a shift (Lemire, ACM TOMACS 2019) without the rejection step: the
    probabilities of two values differ by at most size / 2**32, relatively.
    """
    return np.int64(((bits >> _SHIFTS[3]) * np.uint64(size)) >> _SHIFTS[3])


@compiled
def random_index(key: np.uint64, counter: np.uint64, size: int) -> np.int64:
    """Return draw number `counter` of stream `key` as an int in [0, size), size <= 2**31."""
    return scale_to_range(random_bits(key, counter), size)


@compiled
def substream(key: np.uint64, index: int) -> np.uint64:
    """Return the key of the stream number `index` (>= 0) below `key`.

    The key is hashed first: hashing a plain sum would let stream 5 of key 7 meet stream 7 of key 5.
    """
    return random_bits(random_bits(key, _GOLDEN), np.uint64(index))


@compiled
def shuffled(key: np.uint64, size: int) -> np.ndarray:
    """Return a random permutation of 0 … size-1, int64 [size] (Fisher–Yates), size <= 2**31."""
    order = np.arange(size)
    for last in range(size - 1, 0, -1):
        other = random_index(key, np.uint64(last), last + 1)
        order[last], order[other] = order[other], order[last]
    return order


def stream_key(*path: int) -> np.uint64:
    """Return the key of a stream from the integers that name it, e.g. `(purpose, seed, epoch)`.

    Order matters, and so does the number of integers. Negative and large integers are taken
    modulo 2**64.
    """
    key = np.uint64(len(path))
    for index in path:
        unsigned = np.uint64(index % 2**64)
        # Compiled functions hand back a uint64 as a Python int.
        key = np.uint64(random_bits(np.uint64(random_bits(key, _GOLDEN)), unsigned))
    return key
