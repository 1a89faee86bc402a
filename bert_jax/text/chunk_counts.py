"""Counting the distinct chunks of a text between white space, compiled: 100 MB/s and more a thread.

A table holds each distinct string once, in one pool of bytes:

    block   b"The cat, the CAT"    chunks   the ×2  cat, ×1  cat ×1
                                   words    the ×2  cat  ×2  ,   ×1

The second step, chunks to words, is BERT's basic tokenisation where it needs nothing but ASCII:
letters and digits run together, anything else is a word by itself. Chunks with other characters
are left to the caller.
"""

from typing import NamedTuple

import numpy as np

from bert_jax.text.compiled import entry, inner, int64

_SPACES = (32, 9, 10, 13)  # what BERT splits at among the ASCII characters


class StringTable(NamedTuple):
    """Distinct byte strings and how often each was seen.

    Attributes:
        hashes: uint64 [capacity].
        starts: int64 [capacity], where a string's bytes begin in the pool.
        lengths: int64 [capacity].
        counts: int64 [capacity].
        slots: int32 [2 · capacity], open-addressed table to the string, or −1.
        pool: uint8 [pool capacity].
        used: int64 [2], strings and pool bytes in use.
    """

    hashes: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    counts: np.ndarray
    slots: np.ndarray
    pool: np.ndarray
    used: np.ndarray

    def items(self) -> list[tuple[bytes, int]]:
        """Return the strings and their counts."""
        number, size = self.used.tolist()
        pool = self.pool[:size].tobytes()
        starts, lengths = self.starts[:number].tolist(), self.lengths[:number].tolist()
        counts = self.counts[:number].tolist()
        return [
            (pool[start : start + length], count)
            for start, length, count in zip(starts, lengths, counts, strict=True)
        ]


def empty_table(capacity: int = 1 << 16, pool: int = 1 << 20) -> StringTable:
    """Return a table with room for `capacity` (a power of two) strings, `pool` bytes in all."""
    return StringTable(
        hashes=np.empty(capacity, np.uint64),
        starts=np.empty(capacity, np.int64),
        lengths=np.empty(capacity, np.int64),
        counts=np.zeros(capacity, np.int64),
        slots=np.full(2 * capacity, -1, np.int32),
        pool=np.empty(pool, np.uint8),
        used=np.zeros(2, np.int64),
    )


def count_chunks(table: StringTable, block: bytes, lowercase: bool) -> StringTable:
    """Count the chunks of a block in the table; return the table, or a larger one in its place.

    ASCII control characters are deleted and, with `lowercase`, ASCII capitals made small: both are
    what BERT's normaliser does, and both make the distinct chunks fewer.
    """
    data = np.frombuffer(block, np.uint8)
    done = 0
    while True:
        table = _with_room(table, strings=1, pool=len(data) - done)
        done = _count_chunks(table, data, done, lowercase)
        if done == len(data):
            return table
        table = _with_room(table, strings=1 + len(table.hashes), pool=0)


def split_chunks(chunks: StringTable) -> tuple[StringTable, np.ndarray]:
    """Return the words of the ASCII chunks, counted, and which chunks (indices) are not ASCII."""
    words = empty_table(len(chunks.hashes))
    others = np.empty(int(chunks.used[0]), np.int64)
    chunk, place, number = 0, -1, 0
    while True:
        words = _with_room(words, strings=1, pool=int(chunks.used[1]))
        chunk, place, number = _split_chunks(chunks, words, chunk, place, others, number)
        if chunk == chunks.used[0]:
            return words, others[:number]
        words = _with_room(words, strings=1 + len(words.hashes), pool=0)


def add_table(table: StringTable, other: StringTable) -> StringTable:
    """Add another table's counts; return the table, or a larger one in its place."""
    table = _with_room(table, strings=int(other.used[0]), pool=int(other.used[1]))
    _add_table(table, other)
    return table


def _with_room(table: StringTable, strings: int, pool: int) -> StringTable:
    """Return the table, or a copy of it that has room for so many more strings and bytes."""
    number, size = table.used.tolist()
    if number + strings <= len(table.hashes) and size + pool <= len(table.pool):
        return table
    capacity = len(table.hashes)
    while capacity < number + strings:
        capacity *= 2
    larger = empty_table(capacity, max(len(table.pool), 2 * size + pool))
    _add_table(larger, table)
    return larger


@entry
def _count_chunks(table: StringTable, data: np.ndarray, start: int, lowercase: bool) -> int:
    """Count the chunks from `start` on; return where it stopped: the end, or for want of room."""
    pool, tail = table.pool, table.used[1]
    length = int64(0)
    for place in range(start, len(data) + 1):
        byte = data[place] if place < len(data) else _SPACES[0]
        if byte > 32 and byte != 127:
            if lowercase and 65 <= byte <= 90:
                byte += 32
            pool[tail + length] = byte
            length += 1
        elif byte in _SPACES and length > 0:
            if table.used[0] == len(table.hashes):
                return start
            _enter(table, length, int64(1))
            tail = table.used[1]
            length = 0
            start = place
    return len(data)


@entry
def _split_chunks(
    chunks: StringTable,
    words: StringTable,
    start: int,
    start_place: int,
    others: np.ndarray,
    number: int,
) -> tuple[int, int, int]:
    """Split chunks from `start` on, that one from `start_place` on (−1: its beginning).

    Returns the chunk and the place where it stopped for want of room (or the number of chunks), and
    how many chunks so far are not ASCII.
    """
    for chunk in range(start, chunks.used[0]):
        count = chunks.counts[chunk]
        place = chunks.starts[chunk]
        end = place + chunks.lengths[chunk]
        if chunk == start and start_place >= 0:
            place = int64(start_place)
        else:
            ascii_only = True
            for k in range(place, end):
                ascii_only &= chunks.pool[k] < 128
            if not ascii_only:
                others[number] = chunk
                number += 1
                continue
        while place < end:
            if words.used[0] == len(words.hashes):
                return chunk, place, number
            length = int64(0)
            while place < end and _is_letter_or_digit(chunks.pool[place]):
                words.pool[words.used[1] + length] = chunks.pool[place]
                length += 1
                place += 1
            if length == 0:  # punctuation: a word by itself
                words.pool[words.used[1]] = chunks.pool[place]
                length += 1
                place += 1
            _enter(words, length, count)
    return chunks.used[0], int64(-1), number


@inner
def _is_letter_or_digit(byte: int) -> bool:
    return 48 <= byte <= 57 or 65 <= byte <= 90 or 97 <= byte <= 122


@entry
def _add_table(table: StringTable, other: StringTable) -> None:
    for string in range(other.used[0]):
        start, length = other.starts[string], other.lengths[string]
        tail = table.used[1]
        for k in range(length):
            table.pool[tail + k] = other.pool[start + k]
        _enter(table, length, other.counts[string])


@inner
def _enter(table: StringTable, length: int, count: int) -> None:
    """Count the string that lies behind the last one in the pool; keep its bytes if it is new."""
    tail = table.used[1]
    code = np.uint64(0xCBF29CE484222325)
    for k in range(length):
        code = (code ^ np.uint64(table.pool[tail + k])) * np.uint64(0x100000001B3)
    mask = len(table.slots) - 1
    slot = np.int64((code * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & mask
    while table.slots[slot] >= 0:
        string = table.slots[slot]
        if table.hashes[string] == code and table.lengths[string] == length:
            start = table.starts[string]
            same = True
            for k in range(length):
                if table.pool[start + k] != table.pool[tail + k]:
                    same = False
                    break
            if same:
                table.counts[string] += count
                return
        slot = (slot + 1) & mask
    string = table.used[0]
    table.slots[slot] = string
    table.hashes[string] = code
    table.starts[string] = tail
    table.lengths[string] = length
    table.counts[string] = count
    table.used[0] += 1
    table.used[1] += length
