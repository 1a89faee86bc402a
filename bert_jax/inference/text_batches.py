"""Texts as batches of few shapes and little padding, and back in the order they came."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np

from bert_jax.text.encoding import Encoding

LENGTH_STEP = 16  # row lengths are multiples of it, so that few shapes are compiled
_WINDOW = 32  # batches that are sorted by length together

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class TextBatch:
    """Rows of one shape; `texts` says which text each of the first rows is, the rest are padding.

    Attributes:
        texts: [n] int, n at most B: index of the text in the sequence that was batched.
        input_ids: [B, L] int32.
        token_type_ids: [B, L] int32.
        attention_mask: [B, L] bool, true at real tokens.
    """

    texts: np.ndarray
    input_ids: np.ndarray
    token_type_ids: np.ndarray
    attention_mask: np.ndarray


def text_batches(
    encodings: Sequence[Encoding], batch_size: int, pad_id: int
) -> Iterator[TextBatch]:
    """Batch texts by length: the shortest first, each batch as long as its longest text.

        lengths 5 30 7 6, B = 2    ->    [5 6] in rows of 16, [7 30] in rows of 32

    Args:
        encodings: from a `Tokenizer`.
        batch_size: B.
        pad_id: id of [PAD].
    """
    order = np.argsort([len(encoding.ids) for encoding in encodings], kind="stable")
    for start in range(0, len(order), batch_size):
        texts = order[start : start + batch_size]
        longest = max(len(encodings[i].ids) for i in texts)
        shape = (batch_size, -(-longest // LENGTH_STEP) * LENGTH_STEP)
        ids, types = np.full(shape, pad_id, np.int32), np.zeros(shape, np.int32)
        mask = np.zeros(shape, bool)
        for row, i in enumerate(texts):
            encoding = encodings[i]
            length = len(encoding.ids)
            ids[row, :length] = encoding.ids
            types[row, :length] = encoding.type_ids
            mask[row, :length] = True
        yield TextBatch(texts, ids, types, mask)


def in_windows(
    items: Iterable[Item], batch_size: int, work: Callable[[list[Item]], Sequence[Result]]
) -> Iterator[Result]:
    """Do `work` on 32 batches' worth of items at a time and give the results one by one, in order.

    Enough to sort by length, little enough to stream any amount of text in constant memory.
    """
    iterator = iter(items)
    while window := list(islice(iterator, batch_size * _WINDOW)):
        yield from work(window)
