"""Token sequences laid into rows [B, L], and what a model says of them brought back in order.

```
rows.sequences [[4 1]          input_ids       [CLS] 7 8 [SEP] [CLS] 9 [SEP] .
                [2 .]]         token_type_ids    0   0 0   0     0   0   0   0
                               position_ids      0   1 2   3     0   1   2   0
                               instance_ids      1   1 1   1     2   2   2   0     0 = padding
                               cls_positions     0 4
```

The one place that knows where tokens stand. Whoever has texts and a model goes three steps:

    sequences = sequences_of(tokenizer.encode_batch(texts, max_length=positions))
    for rows in sorted_rows(sequences, batch_rows, row_lengths(positions)):
        batch = lay_out(sequences, rows, tokenizer.pad_id)
        output = model(batch["input_ids"], batch["token_type_ids"], batch["instance_ids"] > 0)
        for row, text in enumerate(rows.texts):
            ...                                  # output[row] is of texts[text]

`positions` is the model's `max_position_embeddings`: no row is padded beyond it. Several sequences
share a row where `rows` says so (`shared_rows.py`, `bert_jax.tasks.batches.packed_rows`); the model
then also takes `position_ids`, and `instance_ids` as they are for its attention mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

Batch = dict[str, np.ndarray]
"""Arrays by name, the first axis of each B: what a step or a model is given, on the host."""

NO_SEQUENCE = -1
"""Stands for an empty place in `Rows.sequences`."""

_WINDOW = 32  # batches whose texts are sorted by length together

Item = TypeVar("Item")


class Encoded(Protocol):
    """Pieces of a text or a pair, as a tokenizer gives them."""

    @property
    def ids(self) -> list[int]:
        """Of the pieces, [CLS] and [SEP] among them."""

    @property
    def type_ids(self) -> list[int]:
        """0 in the first text and 1 in the second."""


@dataclass(frozen=True)
class Sequences:
    """n token sequences, one after another, in T tokens.

    ```
    sequences 0 and 1    [CLS] I like cats [SEP] [CLS] No [SEP]
    starts               0                       5              8
    ```
    """

    ids: np.ndarray
    """int32 [T]."""
    type_ids: np.ndarray
    """int8 [T], 0 in the first text and 1 in the second."""
    starts: np.ndarray
    """int64 [n + 1], where each sequence begins."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each sequence, int64 [n]."""
        return np.diff(self.starts)


@dataclass(frozen=True)
class Rows:
    """Which sequences share which row of a batch of B rows, at most I a row."""

    sequences: np.ndarray
    """int64 [B, I], `NO_SEQUENCE` where there is none; sequences stand before empty places."""
    length: int
    """L."""
    full: int = 0
    """How many sequences a full batch has, where it is fewer than there are places."""

    @property
    def texts(self) -> np.ndarray:
        """Which sequence each of the first rows begins with, int64 [n], n at most B."""
        first = self.sequences[:, 0]
        return first[first != NO_SEQUENCE]

    def spans(self, sequences: Sequences) -> tuple[np.ndarray, np.ndarray]:
        """Where each sequence begins in its row, and its length: two int64 [B, I]."""
        lengths = np.where(self.sequences >= 0, sequences.lengths[self.sequences], 0)
        return np.cumsum(lengths, axis=1) - lengths, lengths


def sequences_of(encoded: Sequence[Encoded]) -> Sequences:
    """Lay encoded texts one after another."""
    lengths = [len(each.ids) for each in encoded]
    return Sequences(
        ids=np.fromiter((i for each in encoded for i in each.ids), np.int32, sum(lengths)),
        type_ids=np.fromiter((i for each in encoded for i in each.type_ids), np.int8, sum(lengths)),
        starts=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
    )


def row_lengths(positions: int, step: int = 16) -> tuple[int, ...]:
    """The multiples of `step` below a model's number of positions, and that number itself.

    Few lengths, since each is a compilation; and none that the model's position table lacks.

    >>> row_lengths(40)
    (16, 32, 40)
    """
    return (*range(step, positions, step), positions)


def close_lengths(positions: int) -> tuple[int, ...]:
    """More of them, for rows of which each is one sequence: multiples of 4 up to 32, of 8 to 64, …

    Beyond 16, a sequence gets a row that is less than a quarter longer than it, on average a tenth;
    for 512 positions there are 24 lengths, and for 40 the nine of

    >>> close_lengths(40)
    (4, 8, 12, 16, 20, 24, 28, 32, 40)
    """
    lengths: list[int] = []
    step = 4
    while (length := lengths[-1] + step if lengths else step) < positions:
        lengths.append(length)
        if length == 8 * step:
            step *= 2
    return (*lengths, positions)


def length_for(needed: int, lengths: Sequence[int]) -> int:
    """The smallest of `lengths` that is at least `needed`; `needed` itself where none is."""
    return min((length for length in lengths if length >= needed), default=needed)


def rounded_up(needed: int, step: int, positions: int | None = None) -> int:
    """The next multiple of `step`, or the model's number of positions where that is less."""
    rounded = -(-needed // step) * step
    return rounded if positions is None else max(needed, min(rounded, positions))


def sorted_rows(sequences: Sequences, batch_rows: int, lengths: Sequence[int]) -> list[Rows]:
    """Put one sequence into a row, sequences of about one length into a batch.

        5 30 7 6 tokens, two rows a batch    ->    [5 6] in rows of 16, [7 30] in rows of 32

    Args:
        sequences: each is put into one row, the shortest first.
        batch_rows: B, of every batch; the last may have rows of padding.
        lengths: that rows may have, such as `row_lengths(positions)`.
    """
    order = np.argsort(sequences.lengths, kind="stable")
    rows = []
    for begin in range(0, len(order), batch_rows):
        chosen = order[begin : begin + batch_rows]
        table = np.full((batch_rows, 1), NO_SEQUENCE, np.int64)
        table[: len(chosen), 0] = chosen
        rows.append(Rows(table, length_for(int(sequences.lengths[chosen].max()), lengths)))
    return rows


def empty_rows(batch_rows: int, length: int, places: int, pad_id: int) -> Batch:
    """What a model reads, of padding only: all [B, L] int32 but `cls_positions` [B, places]."""
    shape = (batch_rows, length)
    return {
        "input_ids": np.full(shape, pad_id, np.int32),
        "token_type_ids": np.zeros(shape, np.int32),
        "position_ids": np.zeros(shape, np.int32),
        "instance_ids": np.zeros(shape, np.int32),
        "cls_positions": np.zeros((batch_rows, places), np.int32),
    }


def lay_out(sequences: Sequences, rows: Rows, pad_id: int) -> Batch:
    """Make the arrays that a model reads; names and shapes as of `empty_rows`."""
    source, place = token_places(sequences, rows)
    begins, lengths = rows.spans(sequences)
    batch = empty_rows(len(rows.sequences), rows.length, rows.sequences.shape[1], pad_id)
    batch["cls_positions"][:] = np.where(lengths > 0, begins, 0)
    filled = lengths[lengths > 0]
    slots = np.broadcast_to(np.arange(1, lengths.shape[1] + 1), lengths.shape)[lengths > 0]
    within = np.arange(len(source)) - np.repeat(np.cumsum(filled) - filled, filled)
    for name, values in (
        ("input_ids", sequences.ids[source]),
        ("token_type_ids", sequences.type_ids[source]),
        ("position_ids", within),
        ("instance_ids", np.repeat(slots, filled)),
    ):
        batch[name].reshape(-1)[place] = values
    return batch


def token_places(sequences: Sequences, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """For every token of the rows, its index in `sequences` and in the flattened [B · L] rows."""
    begins, lengths = rows.spans(sequences)
    present = rows.sequences >= 0
    counts = lengths[present]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    source = np.repeat(sequences.starts[rows.sequences[present]], counts) + within
    row_begins = begins + np.arange(len(begins))[:, None] * rows.length
    return source, np.repeat(row_begins[present], counts) + within


def collect_sequences(
    sequences: Sequences, found: Mapping[int, np.ndarray], rows: Sequence[Rows]
) -> np.ndarray:
    """Put outputs [B, I, …] of numbered batches into the order of the sequences: [n, …]."""
    outputs = np.zeros((len(sequences), *found[0].shape[2:]), found[0].dtype)
    for number, output in found.items():
        present = rows[number].sequences >= 0
        outputs[rows[number].sequences[present]] = output[present]
    return outputs


def collect_tokens(
    sequences: Sequences, found: Mapping[int, np.ndarray], rows: Sequence[Rows]
) -> np.ndarray:
    """Put outputs [B, L, …] of numbered batches into the order of the tokens: [T, …]."""
    outputs = np.zeros((len(sequences.ids), *found[0].shape[2:]), found[0].dtype)
    for number, output in found.items():
        source, place = token_places(sequences, rows[number])
        outputs[source] = output.reshape(-1, *output.shape[2:])[place]
    return outputs


def windows(
    items: Iterable[Item], batch_rows: int, rows_of: Callable[[Item], int] = lambda item: 1
) -> Iterator[list[Item]]:
    """Cut items into lists of 32 batches' worth.

    Enough to sort by length, little enough to stream any amount of text in constant memory.

    Args:
        items: any number of them.
        batch_rows: B.
        rows_of: how many rows of a batch an item takes.
    """
    window: list[Item] = []
    rows = 0
    for item in items:
        window.append(item)
        rows += rows_of(item)
        if rows >= batch_rows * _WINDOW:
            yield window
            window, rows = [], 0
    if window:
        yield window
