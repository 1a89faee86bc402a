"""Which rows of the token table a training step changes, and which of them the batch held.

After every step each row is in one of five classes, by what the batch held of it and by whether
any batch up to now held it as input:

    INPUT              it was looked up at a real position (`instance_ids` > 0)
    LABEL, seen        not input, but the piece behind a mask; some earlier batch had it as input
    LABEL, unseen      not input, but the piece behind a mask; never input yet
    ABSENT, seen       neither; some earlier batch had it as input
    ABSENT, unseen     neither; never input yet

and it changed or not: its bits before and after the step are compared. What can have changed a row
that is not input follows from its class and the model:

    tied decoder    the gradient of the softmax over the vocabulary reaches every row
    untied          the gradient is zero: if seen, momentum (and weight decay); if unseen, weight
                    decay alone, since its moments are zero too

Everything here runs on the device, inside the step; `Audit` is a part of the training state, so
that a run that is killed and continued counts as one that was not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.parameters import token_table
from bert_jax.training.state import TrainState

INPUT, LABEL_SEEN, LABEL_UNSEEN, ABSENT_SEEN, ABSENT_UNSEEN = range(5)
CLASSES = ("input", "label_seen", "label_unseen", "absent_seen", "absent_unseen")
NEVER = -1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Presence:
    """What a batch holds of each row, boolean [V]."""

    as_input: jax.Array
    as_label: jax.Array
    as_replacement: jax.Array  # drawn at random in the place of a masked piece


def presence(batch: dict[str, jax.Array], vocab_size: int, mask_id: int) -> Presence:
    """Say which rows a batch holds: as input, as masked label, as random replacement.

    Args:
        batch: `input_ids` and `instance_ids` [B, L]; `masked_positions`, `masked_labels` and
            `masked_weights` [B, P].
        vocab_size: V.
        mask_id: the id of [MASK]. A masked position whose input is neither [MASK] nor its label
            holds a random replacement.
    """

    def rows(ids: jax.Array, counted: jax.Array) -> jax.Array:
        where = jnp.where(counted, ids, vocab_size)
        return jnp.zeros(vocab_size, bool).at[where].set(True, mode="drop")

    masked = batch["masked_weights"] > 0
    shown = jnp.take_along_axis(batch["input_ids"], batch["masked_positions"], axis=1)
    labels = batch["masked_labels"]
    return Presence(
        as_input=rows(batch["input_ids"], batch["instance_ids"] > 0),
        as_label=rows(labels, masked),
        as_replacement=rows(shown, masked & (shown != mask_id) & (shown != labels)),
    )


def changed_rows(before: jax.Array, after: jax.Array) -> jax.Array:
    """Boolean [V]: whether any bit of a row of float32 [V, D] differs; 0.0 and -0.0 do."""
    bits = (jax.lax.bitcast_convert_type(table, jnp.uint32) for table in (before, after))
    return jnp.any(jnp.not_equal(*bits), axis=1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Audit:
    """What is known of every row after some steps; C = 5 classes in the order of `CLASSES`.

    Attributes:
        steps: int32 scalar, steps observed.
        spent: int32 [C, V], steps a row was in each class.
        changed: int32 [C, V], steps of these in which its value changed.
        moved: float32 [C, V], how far it moved in them: the sum of the L2 norms of its changes.
        as_label: int32 [V], steps in which it was a masked label, input or not.
        as_replacement: int32 [V], steps in which it was a random replacement.
        first_seen: int32 [V], the first step (from 1) that had it as input, or `NEVER`.
        first_changed: int32 [V], the first step that changed it, or `NEVER`.
    """

    steps: jax.Array
    spent: jax.Array
    changed: jax.Array
    moved: jax.Array
    as_label: jax.Array
    as_replacement: jax.Array
    first_seen: jax.Array
    first_changed: jax.Array


def new_audit(vocab_size: int) -> Audit:
    """The audit before the first step."""
    by_class, by_row = (len(CLASSES), vocab_size), (vocab_size,)
    return Audit(
        steps=jnp.zeros((), jnp.int32),
        spent=jnp.zeros(by_class, jnp.int32),
        changed=jnp.zeros(by_class, jnp.int32),
        moved=jnp.zeros(by_class, jnp.float32),
        as_label=jnp.zeros(by_row, jnp.int32),
        as_replacement=jnp.zeros(by_row, jnp.int32),
        first_seen=jnp.full(by_row, NEVER, jnp.int32),
        first_changed=jnp.full(by_row, NEVER, jnp.int32),
    )


def observe(audit: Audit, before: jax.Array, after: jax.Array, present: Presence) -> Audit:
    """Add one step to an audit.

    Args:
        audit: of the steps before.
        before: the token table [V, D] that the step began with.
        after: the token table it ended with.
        present: what the step's batch held.
    """
    changed = changed_rows(before, after)
    distance = jnp.sqrt(jnp.sum(jnp.square(after - before), axis=1))
    seen_before = audit.first_seen != NEVER
    absent = jnp.where(seen_before, ABSENT_SEEN, ABSENT_UNSEEN)
    label = jnp.where(seen_before, LABEL_SEEN, LABEL_UNSEEN)
    which = jnp.where(present.as_input, INPUT, jnp.where(present.as_label, label, absent))
    in_class = which == jnp.arange(len(CLASSES))[:, None]
    step = audit.steps + 1

    def first(before: jax.Array, now: jax.Array) -> jax.Array:
        return jnp.where((before == NEVER) & now, step, before)

    return Audit(
        steps=step,
        spent=audit.spent + in_class,
        changed=audit.changed + (in_class & changed),
        moved=audit.moved + jnp.where(in_class, distance, 0.0),
        as_label=audit.as_label + present.as_label,
        as_replacement=audit.as_replacement + present.as_replacement,
        first_seen=first(audit.first_seen, present.as_input),
        first_changed=first(audit.first_changed, changed),
    )


class Audited(NamedTuple):
    """An optimiser's state, and the audit kept beside it."""

    optimizer: Any
    audit: Audit


def begin_audit(state: TrainState) -> TrainState:
    """The state with a new audit in it, for a step made by `audited`."""
    audit = new_audit(token_table(state.params).shape[0])
    return dataclasses.replace(state, opt_state=Audited(state.opt_state, audit))


def audited(step: Callable[..., Any], mask_id: int) -> Callable[..., Any]:
    """A training step that also observes what it does to the token table.

    Args:
        step: `step(state, batch) -> (state, metrics)`, of any optimiser.
        mask_id: the id of [MASK].

    Returns:
        The same for a state from `begin_audit`. The parameters it computes are those of `step`.
    """

    def audited_step(state: TrainState, batch: dict[str, jax.Array]) -> tuple[TrainState, Any]:
        inner, audit = state.opt_state
        after, metrics = step(dataclasses.replace(state, opt_state=inner), batch)
        before_table, after_table = token_table(state.params), token_table(after.params)
        present = presence(batch, before_table.shape[0], mask_id)
        audit = observe(audit, before_table, after_table, present)
        return dataclasses.replace(after, opt_state=Audited(after.opt_state, audit)), metrics

    return audited_step


@dataclasses.dataclass(frozen=True)
class UpdatesPerRow:
    """How often the rows of a table were updated.

    Attributes:
        median: updates of the middle row.
        fifth_percentile: updates that all but the rarest 5 % of the rows had at least.
        never: share of the rows that had none.
    """

    median: float
    fifth_percentile: float
    never: float


def updates_per_row(counts: np.ndarray) -> UpdatesPerRow:
    """Sum up the updates [V] of the rows, such as `Audit.spent[INPUT]`."""
    median, fifth = np.percentile(counts, [50, 5], method="inverted_cdf")
    return UpdatesPerRow(float(median), float(fifth), float(np.mean(counts == 0)))


def audit_summary(audit: Audit, table: np.ndarray, initial: np.ndarray) -> dict[str, Any]:
    """The audit in a few numbers, all of them over the steps since the start.

    Args:
        audit: of numpy or jax arrays.
        table: [V, D], the token table now.
        initial: [V, D], as it was before the first step.

    Returns:
        `rows` (V) and `steps`; `rows_seen` and `rows_changed`, how many were ever input, ever
        changed; `in_batch_share`, `replacement_share` and `changed_share`, the mean share of the
        rows that a batch held as input, held as random replacement, that a step changed;
        `CLASS_share`, the share of the row-steps in a class in which the row changed, and
        `CLASS_moved`, how far a row moved in them on average (None where there were none);
        `seen_drift` and `unseen_drift`, the mean L2 distance from where it began of a row ever and
        never input (None where there are none), and `initial_norm`, the mean norm of a row then.
    """
    steps, rows = int(audit.steps), len(table)
    spent = np.asarray(audit.spent).sum(axis=1, dtype=np.int64)
    changed = np.asarray(audit.changed).sum(axis=1, dtype=np.int64)
    moved = np.asarray(audit.moved).sum(axis=1, dtype=np.float64)
    row_steps = max(steps * rows, 1)
    seen = np.asarray(audit.first_seen) != NEVER
    drift = np.linalg.norm(table - initial, axis=1)
    replaced = np.asarray(audit.as_replacement).sum(dtype=np.int64)
    summary: dict[str, Any] = {
        "steps": steps,
        "rows": rows,
        "rows_seen": int(seen.sum()),
        "rows_changed": int((np.asarray(audit.first_changed) != NEVER).sum()),
        "in_batch_share": float(spent[INPUT] / row_steps),
        "changed_share": float(changed.sum() / row_steps),
        "replacement_share": float(replaced / row_steps),
    }
    for i, name in enumerate(CLASSES):
        summary[f"{name}_share"] = float(changed[i] / spent[i]) if spent[i] else None
        summary[f"{name}_moved"] = float(moved[i] / spent[i]) if spent[i] else None
    return summary | {
        "seen_drift": float(drift[seen].mean()) if seen.any() else None,
        "unseen_drift": float(drift[~seen].mean()) if not seen.all() else None,
        "initial_norm": float(np.linalg.norm(initial, axis=1).mean()),
    }
