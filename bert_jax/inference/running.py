"""Texts through a trained model: in shared rows, the next batch made while the device works."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import jax
import numpy as np

from bert_jax.data.ahead import one_ahead
from bert_jax.data.row_layout import Batch, Encoded, Rows, lay_out, sequences_of
from bert_jax.data.shared_rows import SharedRows

PIECES_A_TEXT = 64
"""What `batch_size` reckons with: a batch has so many places for each of its texts."""

Window = TypeVar("Window")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a text stands in a batch: the `slot`-th of a row, `tokens` of its positions."""

    row: int
    slot: int
    tokens: slice


class Runner(Generic[Result]):
    """Runs a model over texts, window by window.

    Args:
        step: starts the model on a batch, as `row_layout.lay_out` makes them.
        part: what is kept of the step's output, on the host, and the batch, for the text of a
            place. It must not be a view of the output, which would stay in memory.
        batch_size: texts a batch, of `PIECES_A_TEXT` pieces each.
        positions: of the model.
        pad_id: of the vocabulary.
        text_by_text: whether the step reads where texts begin (`cls_positions`); else batches do
            not say, and there are fewer shapes.

    Attributes:
        shapes: of the batches so far, (B, L), or (B, L, I) text by text: each was compiled.
    """

    def __init__(
        self,
        step: Callable[[Batch], Any],
        part: Callable[[Any, Batch, Place], Result],
        *,
        batch_size: int,
        positions: int,
        pad_id: int,
        text_by_text: bool,
    ):
        self._step, self._part = step, part
        self._pad_id, self._text_by_text = pad_id, text_by_text
        self._shared = SharedRows(batch_size * PIECES_A_TEXT, positions)
        self.shapes: set[tuple[int, ...]] = set()

    def over(
        self, windows: Iterable[tuple[Window, Sequence[Encoded]]]
    ) -> Iterator[tuple[Window, list[Result]]]:
        """Give each window with what is kept of its texts, in their order.

        The next window is asked for, and encoded, while the device works on the end of one: before
        that one is given. Of a window without texts there is nothing to give.

        Args:
            windows: encoded texts, and whatever belongs to them.
        """
        batches = self._batches(windows)
        for item, output in one_ahead(batches, lambda item: self._step(item.batch), jax.device_get):
            for text, place in _places(item.rows, item.lengths):
                item.found[text] = self._part(output, item.batch, place)
            if item.last:
                yield item.window, item.found

    def _batches(
        self, windows: Iterable[tuple[Window, Sequence[Encoded]]]
    ) -> Iterator[_Batch[Window, Result]]:
        for window, encoded in windows:
            sequences = sequences_of(encoded)
            found: list[Any] = [None] * len(sequences)
            every = self._shared(sequences)
            for number, rows in enumerate(every, 1):
                batch = lay_out(sequences, rows, self._pad_id)
                begins = batch.pop("cls_positions")
                shape = batch["input_ids"].shape
                if self._text_by_text:
                    batch["cls_positions"], shape = begins, (*shape, begins.shape[1])
                self.shapes.add(shape)
                last = number == len(every)
                yield _Batch(window, found, rows, sequences.lengths, batch, last)


@dataclasses.dataclass(frozen=True)
class _Batch(Generic[Window, Result]):
    window: Window
    found: list[Result]
    rows: Rows
    lengths: np.ndarray  # of all sequences of the window
    batch: Batch
    last: bool  # of its window


def _places(rows: Rows, lengths: np.ndarray) -> Iterator[tuple[int, Place]]:
    for row, texts in enumerate(rows.sequences.tolist()):
        begin = 0
        for slot, text in enumerate(texts):
            if text >= 0:
                end = begin + int(lengths[text])
                yield text, Place(row, slot, slice(begin, end))
                begin = end
