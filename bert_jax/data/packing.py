"""Which instances share a row: first-fit packing."""

from dataclasses import dataclass

import numpy as np

from bert_jax.data.compiling import compiled
from bert_jax.data.counter_rng import shuffled
from bert_jax.data.instances import InstancePlan
from bert_jax.errors import UserError


@dataclass(frozen=True)
class PackedInstances:
    """The rows of one epoch: row r holds instances `instances[starts[r]:starts[r + 1]]`.

    ```
    lengths of instances 0 … 4:  50 60 70 40 30,  rows of 128, at most 2 instances a row

    row 0 |0: 50 |1: 60     |  |        starts     [0, 2, 4, 5]
    row 1 |2: 70     |3: 40 |  |        instances  [0, 1, 2, 3, 4]
    row 2 |4: 30|              |
    ```
    """

    starts: np.ndarray
    """int64 [rows + 1], offsets into `instances`."""
    instances: np.ndarray
    """int64 [n], every index of the plan exactly once."""

    def __len__(self) -> int:
        return len(self.starts) - 1


def pack_instances(plan: InstancePlan, length: int, max_instances: int = 1) -> PackedInstances:
    """Put the instances of `plan` into rows of `length` tokens.

    Each instance, in the plan's order, goes to the first row with room for it and fewer than
    `max_instances` instances (first-fit, Johnson 1973: at most 1.7 times the rows of the best
    packing, in practice within two per cent). First-fit fills early rows with late, short
    instances, so the rows are then shuffled, by a fixed permutation of their number: the plan is
    already random, and the result depends on the arguments only.

    Args:
      plan: Instances of at most `length` tokens.
      length: Tokens a row holds.
      max_instances: Most instances in a row; 1 keeps one instance per row in the plan's order.

    Raises:
      UserError: If an instance is longer than a row or `max_instances` is below 1.
    """
    if max_instances < 1:
        raise UserError(f"got max_instances={max_instances}; expected at least 1 instance per row")
    if plan.length > length:
        raise UserError(
            f"got rows of {length} tokens for instances of up to {plan.length}; "
            "expected rows at least as long"
        )
    if max_instances == 1:
        return PackedInstances(np.arange(len(plan) + 1), np.arange(len(plan)))
    row_of = first_fit(plan.total_lengths, length, max_instances)
    row_count = int(row_of.max(initial=-1)) + 1
    row_of = shuffled(np.uint64(row_count), row_count)[row_of]
    starts = np.concatenate([[0], np.cumsum(np.bincount(row_of, minlength=row_count))])
    return PackedInstances(starts, np.argsort(row_of, kind="stable"))


@compiled
def first_fit(lengths, row_length, max_instances):
    """Return the row of each instance, int64 [n].

    `room` is a complete binary tree: its leaves are the rows' free tokens (0 once a row has its
    number of instances), every inner node the larger of its children, so that the first row with
    room is found from the root in log2(rows) steps.
    """
    leaves = 1
    while leaves < len(lengths):
        leaves *= 2
    room = np.full(2 * leaves, row_length, np.int32)
    count = np.zeros(leaves, np.int32)
    row_of = np.empty(len(lengths), np.int64)
    for instance in range(len(lengths)):
        need = lengths[instance]
        node = 1
        while node < leaves:
            node *= 2
            if room[node] < need:
                node += 1
        row = node - leaves
        row_of[instance] = row
        count[row] += 1
        room[node] = room[node] - need if count[row] < max_instances else 0
        while node > 1:
            node //= 2
            larger = max(room[2 * node], room[2 * node + 1])
            if room[node] == larger:
                break
            room[node] = larger
    return row_of
