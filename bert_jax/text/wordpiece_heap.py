"""A binary heap of (key, pair), largest key first, for compiled code; entries may go out of date.

An entry counts only while its key is the current key of its pair: renewing a pair pushes a new
entry and leaves the old one where it is, to be dropped when it comes up or when the heap is swept.
"""

from typing import NamedTuple

import numpy as np

from bert_jax.text.compiled import inner, int64


class Heap(NamedTuple):
    """The heap's memory.

    Attributes:
        keys: float64 [capacity].
        pairs: int32 [capacity].
        size: int64 [1], entries in use.
    """

    keys: np.ndarray
    pairs: np.ndarray
    size: np.ndarray


def empty_heap(capacity: int) -> Heap:
    """Return a heap that can hold `capacity` entries; memory is taken as entries come."""
    return Heap(np.empty(capacity, np.float64), np.empty(capacity, np.int32), np.zeros(1, np.int64))


@inner
def push(heap: Heap, key: float, pair: int) -> None:
    """Add an entry; the caller sees to it that there is room."""
    heap.size[0] += 1
    _rise(heap, heap.size[0] - 1, key, pair)


@inner
def pop(heap: Heap) -> None:
    """Remove the entry with the largest key, `keys[0]`."""
    last = heap.size[0] - 1
    heap.size[0] = last
    if last > 0:
        _sink(heap, int64(0), heap.keys[last], int64(heap.pairs[last]))


@inner
def sweep(heap: Heap, current: np.ndarray) -> None:
    """Drop the entries whose key is not `current[pair]`, and order the rest anew."""
    kept = 0
    for entry in range(heap.size[0]):
        if current[heap.pairs[entry]] == heap.keys[entry]:
            heap.keys[kept] = heap.keys[entry]
            heap.pairs[kept] = heap.pairs[entry]
            kept += 1
    heap.size[0] = kept
    for entry in range(kept // 2 - 1, -1, -1):
        _sink(heap, int64(entry), heap.keys[entry], int64(heap.pairs[entry]))


@inner
def _rise(heap: Heap, entry: int, key: float, pair: int) -> None:
    while entry > 0:
        parent = (entry - 1) >> 1
        if heap.keys[parent] >= key:
            break
        heap.keys[entry] = heap.keys[parent]
        heap.pairs[entry] = heap.pairs[parent]
        entry = parent
    heap.keys[entry] = key
    heap.pairs[entry] = pair


@inner
def _sink(heap: Heap, entry: int, key: float, pair: int) -> None:
    size = heap.size[0]
    while True:
        child = 2 * entry + 1
        if child >= size:
            break
        if child + 1 < size and heap.keys[child + 1] > heap.keys[child]:
            child += 1
        if heap.keys[child] <= key:
            break
        heap.keys[entry] = heap.keys[child]
        heap.pairs[entry] = heap.pairs[child]
        entry = child
    heap.keys[entry] = key
    heap.pairs[entry] = pair
