"""How each kind of label becomes arrays of a batch, beside the tokens."""

from collections.abc import Callable

import numpy as np

from bert_jax.data.row_layout import Batch, Rows, token_places
from bert_jax.tasks.features import NO_LABEL, Features

LabelLayout = Callable[[Features, Rows, int], Batch]


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
