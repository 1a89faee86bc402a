"""From sequences to the arrays of a batch and back: the one place that knows where tokens stand.

```
rows.sequences [[4 1]          input_ids       [CLS] 7 8 [SEP] [CLS] 9 [SEP] .
                [2 .]]         position_ids      0   1 2   3     0   1   2   0
                               instance_ids      1   1 1   1     2   2   2   0     0 = padding
                               cls_positions     0 4
```
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bert_jax.tasks.features import NO_LABEL, Features

Batch = dict[str, np.ndarray]
LabelLayout = Callable[[Features, "Rows", int], Batch]

NO_SEQUENCE = -1
"""Stands for an empty place in `Rows.sequences`."""


@dataclass(frozen=True)
class Rows:
    """Which sequences share which row of a batch of B rows, at most I a row."""

    sequences: np.ndarray
    """int64 [B, I], `NO_SEQUENCE` where there is none; sequences stand before empty places."""
    length: int
    """L."""
    full: int = 0
    """How many sequences a full batch has, where it is fewer than there are places."""

    def spans(self, features: Features) -> tuple[np.ndarray, np.ndarray]:
        """Where each sequence begins in its row, and its length: two int64 [B, I]."""
        lengths = np.where(self.sequences >= 0, features.lengths[self.sequences], 0)
        return np.cumsum(lengths, axis=1) - lengths, lengths


def lay_out(features: Features, rows: Rows, pad_id: int) -> Batch:
    """Make the arrays that a model reads, all [B, L] int32 but `cls_positions` [B, I]."""
    source, place = token_places(features, rows)
    begins, lengths = rows.spans(features)
    shape = (len(rows.sequences), rows.length)
    batch = {
        "input_ids": np.full(shape, pad_id, np.int32),
        "token_type_ids": np.zeros(shape, np.int32),
        "position_ids": np.zeros(shape, np.int32),
        "instance_ids": np.zeros(shape, np.int32),
        "cls_positions": np.where(lengths > 0, begins, 0).astype(np.int32),
    }
    filled = lengths[lengths > 0]
    slots = np.broadcast_to(np.arange(1, lengths.shape[1] + 1), lengths.shape)[lengths > 0]
    within = np.arange(len(source)) - np.repeat(np.cumsum(filled) - filled, filled)
    for name, values in (
        ("input_ids", features.ids[source]),
        ("token_type_ids", features.type_ids[source]),
        ("position_ids", within),
        ("instance_ids", np.repeat(slots, filled)),
    ):
        batch[name].reshape(-1)[place] = values
    return batch


def token_places(features: Features, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """For every token of the rows, its index in `features` and in the flattened [B · L] rows."""
    begins, lengths = rows.spans(features)
    present = rows.sequences >= 0
    counts = lengths[present]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    source = np.repeat(features.starts[rows.sequences[present]], counts) + within
    row_begins = begins + np.arange(len(begins))[:, None] * rows.length
    return source, np.repeat(row_begins[present], counts) + within


def sequence_labels(features: Features, rows: Rows, unit_size: int = 1) -> Batch:
    """`labels` [B, I] of whole sequences, with `weights` [B, I] 0 at empty places."""
    del unit_size
    present = rows.sequences >= 0
    labels = np.where(present, features.labels[rows.sequences], 0)
    return {"labels": labels, "weights": present.astype(np.float32)}


def token_labels(features: Features, rows: Rows, unit_size: int = 1) -> Batch:
    """`labels` [B, L] of tokens, with `weights` [B, L] 0 at tokens without one.

    `share` [B], the same in each row, is how many labels there are for one that a full batch has on
    average: batches of short sequences have few. The mean over a batch's labels times its share
    gives each of an epoch the same weight.
    """
    del unit_size
    source, place = token_places(features, rows)
    labels = np.full((len(rows.sequences), rows.length), NO_LABEL, np.int32)
    labels.reshape(-1)[place] = features.labels[source]
    present = labels != NO_LABEL
    average = np.count_nonzero(features.labels != NO_LABEL) / len(features)
    share = present.sum() / max(average * (rows.full or rows.sequences.size), 1e-9)
    return {
        "labels": np.where(present, labels, 0),
        "weights": present.astype(np.float32),
        "share": np.full(len(labels), share, np.float32),
    }


def span_labels(features: Features, rows: Rows, unit_size: int = 1) -> Batch:
    """`first_labels` and `last_labels` [B, I], positions in the row, with `weights` [B, I]."""
    del unit_size
    begins, _ = rows.spans(features)
    present = rows.sequences >= 0
    spans = features.labels[rows.sequences] + begins[..., None]
    spans = np.where(present[..., None], spans, 0).astype(np.int32)
    return {
        "first_labels": spans[..., 0],
        "last_labels": spans[..., 1],
        "weights": present.astype(np.float32),
    }


def choice_labels(features: Features, rows: Rows, unit_size: int) -> Batch:
    """`labels` [B, 1], 1 at right choices, with `choices` [B, 1] 0 at rows that are none.

    `unit_size` rows in turn are the choices of one question; `weights` [B, 1] counts questions, at
    the first choice of each.
    """
    batch = sequence_labels(features, rows)
    choices = batch["weights"]
    first = (np.arange(len(choices)) % unit_size == 0)[:, None]
    return {
        "labels": batch["labels"].astype(np.float32),
        "choices": choices,
        "weights": choices * first.astype(np.float32),
    }


def collect_sequences(
    features: Features, found: Mapping[int, np.ndarray], rows: list[Rows]
) -> np.ndarray:
    """Put outputs [B, I, …] of numbered batches into the order of the sequences: [n, …]."""
    outputs = np.zeros((len(features), *found[0].shape[2:]), found[0].dtype)
    for number, output in found.items():
        present = rows[number].sequences >= 0
        outputs[rows[number].sequences[present]] = output[present]
    return outputs


def collect_tokens(
    features: Features, found: Mapping[int, np.ndarray], rows: list[Rows]
) -> np.ndarray:
    """Put outputs [B, L, …] of numbered batches into the order of the tokens: [T, …]."""
    outputs = np.zeros((len(features.ids), *found[0].shape[2:]), found[0].dtype)
    for number, output in found.items():
        source, place = token_places(features, rows[number])
        outputs[source] = output.reshape(-1, *output.shape[2:])[place]
    return outputs
