"""From a plan to the arrays of a pretraining batch: pieces laid into rows and masked in one pass.

The arrays are those of `bert_jax.data.row_layout`, filled by machine code, and what is predicted.

```
row of two instances, L = 12   [CLS] 7 8 [SEP] 4 [SEP] [CLS] 9 [SEP] 5 6 [SEP]
token_type_ids                   0   0 0   0   1   1     0   0   0   1 1   1
position_ids                     0   1 2   3   4   5     0   1   2   3 4   5
instance_ids                     1   1 1   1   1   1     2   2   2   2 2   2     0 = padding
cls_positions                    0                       6
```

An instance without a B is [CLS] A [SEP], all of segment 0, and asks nothing about a next sentence.
"""

from dataclasses import dataclass

import numpy as np

from bert_jax.data.compiling import compiled
from bert_jax.data.counter_rng import substream
from bert_jax.data.documents import Documents
from bert_jax.data.instances import InstancePlan
from bert_jax.data.masking import Masking, PieceTable, mask_row
from bert_jax.data.packing import PackedInstances
from bert_jax.data.row_layout import Batch, empty_rows

NO_ROW = -1
"""Stands for a row of padding in a list of rows."""


@dataclass(frozen=True)
class PlannedRows:
    """The instances of an epoch and the rows they are packed into."""

    plan: InstancePlan
    rows: PackedInstances

    def __len__(self) -> int:
        return len(self.rows)


def empty_batch(
    batch_size: int, length: int, predictions: int, max_instances: int, pad_id: int
) -> Batch:
    """Return a batch of padding only: B rows, length L, P predictions, I instances a row."""
    tokens = empty_rows(batch_size, length, max_instances, pad_id)
    cls_positions = tokens.pop("cls_positions")
    predicted, instances = (batch_size, predictions), (batch_size, max_instances)
    return {
        **tokens,
        "masked_positions": np.zeros(predicted, np.int32),
        "masked_labels": np.zeros(predicted, np.int32),
        "masked_weights": np.zeros(predicted, np.float32),
        "cls_positions": cls_positions,
        "next_labels": np.zeros(instances, np.int32),
        "next_weights": np.zeros(instances, np.float32),
    }


def make_batch(
    documents: Documents,
    planned: PlannedRows,
    row_indices: np.ndarray,
    row_streams: np.ndarray,
    length: int,
    max_instances: int,
    masking: Masking,
    progress: float,
    masking_key: np.uint64,
    table: PieceTable,
) -> Batch:
    """Lay out and mask the rows `row_indices`.

    Args:
      documents: Where the plan's spans point.
      planned: Plan and rows of the epoch.
      row_indices: int64 [B], rows of `planned`; `NO_ROW` makes a row of padding.
      row_streams: int64 [B], the number that each row's masks are drawn by, below `masking_key`.
      length: L.
      max_instances: I.
      masking: Rates and P.
      progress: Share of the run that is over, 0 … 1, by which the rate moves.
      masking_key: Random stream of all masks of this epoch.
      table: The vocabulary.
    """
    batch = empty_batch(
        len(row_indices), length, masking.predictions(length), max_instances, table.pad_id
    )
    plan, rows = planned.plan, planned.rows
    _fill(
        as_compiled_input(documents.pieces),
        plan.a_start,
        plan.a_length,
        plan.b_start,
        plan.b_length,
        plan.is_random,
        rows.starts,
        rows.instances,
        row_indices,
        row_streams,
        masking_key,
        masking.rate_at(progress),
        masking.words_as_one,
        masking.thresholds,
        table.cls_id,
        table.sep_id,
        table.mask_id,
        table.ordinary_ids,
        table.is_special,
        table.is_continuation,
        *batch.values(),
    )
    return batch


def as_compiled_input(array: np.ndarray) -> np.ndarray:
    """Return a read-only plain view: memory-mapped or not, one type and one compilation."""
    view = array.view(np.ndarray)
    view.flags.writeable = False
    return view


@compiled
def _fill(
    pieces,
    a_start,
    a_length,
    b_start,
    b_length,
    is_random,
    row_starts,
    row_instances,
    row_indices,
    row_streams,
    masking_key,
    rate,
    words_as_one,
    thresholds,
    cls_id,
    sep_id,
    mask_id,
    ordinary_ids,
    is_special,
    is_continuation,
    input_ids,
    token_type_ids,
    position_ids,
    instance_ids,
    masked_positions,
    masked_labels,
    masked_weights,
    cls_positions,
    next_labels,
    next_weights,
):
    for b in range(len(row_indices)):
        row = row_indices[b]
        if row < 0:
            continue
        begin = 0  # where the instance starts in the row
        for slot in range(row_starts[row + 1] - row_starts[row]):
            instance = row_instances[row_starts[row] + slot]
            a, n_a = a_start[instance], a_length[instance]
            first_b = n_a + 2  # counted from `begin`, after [CLS] A [SEP]
            n_b = b_length[instance]
            total = first_b + n_b + (n_b > 0)  # without a B, no second [SEP]
            ids = input_ids[b, begin : begin + total]
            ids[0] = cls_id
            for k in range(n_a):
                ids[1 + k] = pieces[a + k]
            ids[first_b - 1] = sep_id
            a = b_start[instance]
            for k in range(n_b):
                ids[first_b + k] = pieces[a + k]
            ids[total - 1] = sep_id
            for k in range(total):
                position_ids[b, begin + k] = k
                instance_ids[b, begin + k] = slot + 1
            for k in range(first_b, total):
                token_type_ids[b, begin + k] = 1
            cls_positions[b, slot] = begin
            if n_b:
                next_labels[b, slot] = is_random[instance]
                next_weights[b, slot] = 1.0
            begin += total
        mask_row(
            substream(masking_key, row_streams[b]),
            input_ids[b],
            begin,
            rate,
            words_as_one,
            thresholds,
            mask_id,
            ordinary_ids,
            is_special,
            is_continuation,
            masked_positions[b],
            masked_labels[b],
            masked_weights[b],
        )
