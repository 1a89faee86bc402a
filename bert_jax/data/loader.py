"""Batches by number: `batches[step]` is a pure function of (corpus, seed, step).

```
step ──▶ phase (its length) ──▶ epoch ──plan, pack──▶ rows ──lay out, mask──▶ batch
```

Nothing is carried from one batch to the next, so a run resumes at any step, on any number of hosts,
threads and processes, with the batches it would have had.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Lock

import numpy as np

from bert_jax.data.counter_rng import stream_key
from bert_jax.data.documents import Documents
from bert_jax.data.instances import InstancePlan, plan_instances
from bert_jax.data.masking import Masking, PieceTable, Vocabulary
from bert_jax.data.packing import pack_instances
from bert_jax.data.prefetch import Prefetched
from bert_jax.data.row_layout import Batch
from bert_jax.data.rows import NO_ROW, PlannedRows, make_batch
from bert_jax.errors import UserError

_PHASE_STREAM = 2
_MASKING_STREAM = 3
_KEPT_EPOCHS = 2  # the current one, and a neighbour while prefetching crosses the boundary


@dataclass(frozen=True)
class Phase:
    """A part of training with rows of one length."""

    length: int
    """L, tokens of a row, >= 5."""
    fraction: float
    """Share of all steps, > 0; the shares of all phases add up to 1."""


@dataclass(frozen=True)
class RowSettings:
    """How rows are made, the same for training and evaluation."""

    batch_size: int
    """B, rows of the global batch, in every phase: longer rows make larger batches in tokens."""
    max_instances: int = 1
    """I, most instances packed into a row; 1: one instance a row, as published."""
    short_sequence_probability: float = 0.1
    masking: Masking = field(default_factory=Masking)
    plan: Callable[[Documents, int, int, int, float], InstancePlan] = plan_instances
    """What text becomes: pairs for next sentence prediction, or plain text (`plan_sentences`)."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError(f"got batch_size={self.batch_size}; expected at least 1 row")


class _RandomAccessBatches:
    """Iteration and prefetching on top of `__len__` and `__getitem__`."""

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, step: int) -> Batch:
        raise NotImplementedError

    def __iter__(self) -> Iterator[Batch]:
        return (self[step] for step in range(len(self)))

    def iterate(
        self, start: int = 0, *, workers: int = 0, threads: int = 1, buffer: int = 4
    ) -> Prefetched:
        """Yield batches `start`, `start + 1`, … to the end, made ahead of time in the background.

        The batches do not depend on `workers`, `threads` and `buffer`. Background work ends with
        the last batch, at `.close()` or the end of a `with` block, or when the iterator is dropped.

        Args:
          start: First step, 0 … len(self).
          workers: Processes that make batches; 0: threads of this process. One thread makes
            millions of tokens a second, so processes are for machines with many accelerators.
            A script that asks for processes must guard its main part by
            `if __name__ == "__main__":`, since each of them imports it.
          threads: Threads that make batches, in each process.
          buffer: Batches kept ready, in each process.
        """
        if not 0 <= start <= len(self):
            raise ValueError(f"got start={start}; expected a step from 0 to {len(self)}")
        return Prefetched(self, start, workers, threads, buffer)


class Batches(_RandomAccessBatches):
    """The training batches of a run.

    Each phase counts its epochs from 0 and plans each afresh (other cuts, pairs, order, masks). All
    epochs of a phase have the same number of steps, the whole batches of its epoch 0, so that the
    epoch of a step is known without planning the epochs before it. The size of other plans differs
    by chance: rows too many are left out of that epoch, rows too few are filled in with the
    epoch's first rows under other masks. Both touch well under 1 % of the rows.
    """

    def __init__(
        self,
        documents: Documents,
        vocabulary: Vocabulary,
        *,
        seed: int,
        steps: int,
        phases: Sequence[Phase],
        settings: RowSettings,
        host_rows: slice | np.ndarray = slice(None),
    ) -> None:
        """Describe the run; planning happens when the first batch is asked for.

        Args:
          documents: The training split.
          vocabulary: The tokenizer.
          seed: Names the run.
          steps: Steps of all phases together.
          phases: In order, e.g. `[Phase(128, 0.9), Phase(512, 0.1)]`.
          settings: Batch size, packing, masking.
          host_rows: The rows of the global batch that this host makes; row r is the same whoever
            makes it, so the hosts' rows together are the global batch.

        Raises:
          UserError: If phases do not cover the steps or a setting is out of range. `batches[step]`
            raises it too, for a corpus of fewer than two documents.
        """
        self.phases = tuple(phases)
        self.settings = settings
        self._documents = documents
        self._table = PieceTable.of(vocabulary)
        self._seed = seed
        self._phase_ends = phase_ends(self.phases, steps)
        self._slots = np.arange(settings.batch_size)[host_rows]
        self._epochs = _PlannedEpochs()

    def __len__(self) -> int:
        return self._phase_ends[-1]

    def phase_of(self, step: int) -> Phase:
        """Return the phase of `step`."""
        return self.phases[self._phase_index(step)]

    def epoch_of(self, step: int) -> int:
        """Return the epoch of `step` within its phase."""
        return self._place(step)[1]

    def steps_per_epoch(self, phase_index: int) -> int:
        """Return the steps of each epoch of a phase (plans its epoch 0 if that is not yet done)."""
        return max(1, self._epochs.size(self, phase_index) // self.settings.batch_size)

    def __getitem__(self, step: int) -> Batch:
        phase_index, epoch, step_of_epoch = self._place(step)
        planned = self._epochs.get(self, phase_index, epoch)
        slots = self._slots + step_of_epoch * self.settings.batch_size
        return make_batch(
            self._documents,
            planned,
            slots % len(planned),
            slots,
            self.phases[phase_index].length,
            self.settings.max_instances,
            self.settings.masking,
            step / max(len(self) - 1, 1),
            stream_key(_MASKING_STREAM, self._seed, phase_index, epoch),
            self._table,
        )

    def plan_epoch(self, phase_index: int, epoch: int) -> PlannedRows:
        """Plan and pack one epoch of a phase, afresh at each call."""
        return _planned_rows(
            self._documents,
            self.phases[phase_index].length,
            int(stream_key(_PHASE_STREAM, self._seed, phase_index)),
            epoch,
            self.settings,
        )

    def _phase_index(self, step: int) -> int:
        if not 0 <= step < len(self):
            raise IndexError(f"got step {step}; expected one from 0 to {len(self) - 1}")
        return next(i for i, end in enumerate(self._phase_ends) if step < end)

    def _place(self, step: int) -> tuple[int, int, int]:
        """Return (phase index, epoch in the phase, step in the epoch)."""
        phase_index = self._phase_index(step)
        begin = self._phase_ends[phase_index - 1] if phase_index else 0
        return phase_index, *divmod(step - begin, self.steps_per_epoch(phase_index))


class HeldoutBatches(_RandomAccessBatches):
    """Fixed batches of the held-out split: every instance of one plan once, with fixed masks.

    A masking rate that moves is that of the run's end.
    The last batch is filled up with rows of padding, whose `masked_weights`, `next_weights` and
    `instance_ids` are 0. Rows are shuffled, so the first batches alone are a fair sample.
    """

    def __init__(
        self,
        documents: Documents,
        vocabulary: Vocabulary,
        *,
        length: int,
        settings: RowSettings,
        seed: int = 0,
        max_batches: int | None = None,
        host_rows: slice | np.ndarray = slice(None),
    ) -> None:
        """Plan the batches.

        Args:
          documents: The held-out split.
          vocabulary: The tokenizer.
          length: L.
          settings: Batch size, packing, masking.
          seed: Names the plan and the masks; leave it alone to compare runs with each other.
          max_batches: Use only the first so many batches; None: all.
          host_rows: The rows of the global batch that this host makes.

        Raises:
          UserError: If there are fewer than two documents or a setting is out of range.
        """
        if max_batches is not None and max_batches < 1:
            raise UserError(f"got max_batches={max_batches}; expected at least 1")
        self.length = length
        self.settings = settings
        self._documents = documents
        self._table = PieceTable.of(vocabulary)
        self._planned = _planned_rows(documents, length, seed, 0, settings)
        self._masking_key = stream_key(_MASKING_STREAM, seed)
        self._slots = np.arange(settings.batch_size)[host_rows]
        self._length = -(-len(self._planned) // settings.batch_size)
        if max_batches is not None:
            self._length = min(self._length, max_batches)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, step: int) -> Batch:
        if not 0 <= step < len(self):
            raise IndexError(f"got batch {step}; expected one from 0 to {len(self) - 1}")
        rows = self._slots + step * self.settings.batch_size
        return make_batch(
            self._documents,
            self._planned,
            np.where(rows < len(self._planned), rows, NO_ROW),
            rows,
            self.length,
            self.settings.max_instances,
            self.settings.masking,
            1.0,
            self._masking_key,
            self._table,
        )


def phase_ends(phases: Sequence[Phase], steps: int) -> tuple[int, ...]:
    """Return the step at which each phase ends: `[.9, .1]` of 1000 steps ends at 900 and 1000.

    Raises:
      UserError: If there are no steps or phases, or the fractions are not positive shares of 1.
    """
    if steps < 1:
        raise UserError(f"got {steps} steps; expected at least 1")
    fractions = [phase.fraction for phase in phases]
    positive = all(fraction > 0 for fraction in fractions)  # NaN is not
    if not (phases and positive and abs(sum(fractions) - 1) <= 1e-6):
        raise UserError(
            f"got phases={','.join(f'{p.length}:{p.fraction:g}' for p in phases)}; expected "
            "length:share pairs whose positive shares add up to 1, e.g. 128:0.9,512:0.1"
        )
    ends = [round(steps * total) for total in np.cumsum(fractions)]
    return (*ends[:-1], steps)


def _planned_rows(
    documents: Documents, length: int, seed: int, epoch: int, settings: RowSettings
) -> PlannedRows:
    plan = settings.plan(documents, length, seed, epoch, settings.short_sequence_probability)
    return PlannedRows(plan, pack_instances(plan, length, settings.max_instances))


class _PlannedEpochs:
    """The plans in use, made when first asked for; safe to share between threads."""

    def __init__(self) -> None:
        """Begin with nothing planned."""
        self._plans: dict[tuple[int, int], PlannedRows] = {}
        self._sizes: dict[int, int] = {}
        self._lock = Lock()

    def get(self, batches: Batches, phase_index: int, epoch: int) -> PlannedRows:
        """Return the plan of an epoch of a phase."""
        with self._lock:
            plan = self._plans.pop((phase_index, epoch), None)
            if plan is None:
                plan = batches.plan_epoch(phase_index, epoch)
            self._plans[phase_index, epoch] = plan  # last = most recently used
            if len(self._plans) > _KEPT_EPOCHS:
                del self._plans[next(iter(self._plans))]
            return plan

    def size(self, batches: Batches, phase_index: int) -> int:
        """Return the rows of epoch 0 of a phase."""
        if phase_index not in self._sizes:
            self._sizes[phase_index] = len(self.get(batches, phase_index, 0))
        return self._sizes[phase_index]

    def __reduce__(self) -> tuple[type["_PlannedEpochs"], tuple[()]]:
        return _PlannedEpochs, ()  # a worker process plans for itself
