"""Batches of real tokens: packed or sorted by length for training, packed for evaluation.

A training batch is a pure function of (features, seed, step), as in `bert_jax.data.loader`.
"""

from collections.abc import Iterator

import numpy as np

from bert_jax.data.counter_rng import shuffled, stream_key
from bert_jax.data.lengths import choose_lengths
from bert_jax.data.packing import first_fit
from bert_jax.data.prefetch import Prefetched
from bert_jax.data.row_layout import (
    NO_SEQUENCE,
    Batch,
    Rows,
    Sequences,
    lay_out,
    length_for,
    rounded_up,
)
from bert_jax.errors import UserError
from bert_jax.tasks.features import Features, LabelLayout

_ORDER_STREAM = 11
_WINDOW_BATCHES = 100
_REAL_ENOUGH = 0.9  # of all places, for packing
_LENGTH_STEP = 8  # the length of packed rows is a multiple of this
_ROW_STEPS = 16  # their number one of the multiples of this part of it: few shapes


class TrainingBatches:
    """Every unit once an epoch, `batch_size` units a batch, few places without a token.

    Packed, a batch is units that chance put together, in the fewest rows of one length; batches
    differ by a few rows, so that there are few shapes:

    ```
    all units, shuffled      7 3 9 2   8 1 5 6    in batches of 4
    rows of 10 tokens        9 . | 7 3 | 2 .      8 1 . | 6 . | 5 . .
    ```

    Sorted, it is units of about one length, each in a row of its own. That is for units of several
    sequences, and for few long sequences a batch, of which packing would leave a tenth of the
    places empty. What is learned in few epochs can be worse: batches are less alike.

    ```
    all units, shuffled      7 3 9 2 | 8 1 5 6    windows of 100 batches (here of 2)
    sorted inside windows    2 3 7 9 | 1 5 6 8
    batches, shuffled        7 9   1 5   2 3   6 8
    ```

    The last batch of the last window may be short; it is filled up with rows that weigh nothing.
    """

    def __init__(
        self,
        features: Features,
        label_layout: LabelLayout,
        *,
        seed: int,
        epochs: int,
        batch_size: int,
        pad_id: int,
        ways: int = 1,
        lengths: tuple[int, ...] | None = None,
        positions: int | None = None,
    ) -> None:
        """Describe the run.

        Args:
            features: the training part.
            label_layout: how the head's labels are laid out.
            seed: names the order.
            epochs: how often each unit is met.
            batch_size: units (sequences, or questions with all their choices) of a batch.
            pad_id: of the vocabulary.
            ways: packed rows are filled up to a multiple of this, the ways a mesh cuts a batch.
                Which units a batch has does not depend on it.
            lengths: sort, into rows of these lengths; None packs where that wastes little, and
                else chooses few lengths that do.
            positions: of the model: rows are not longer. None leaves their length free.

        Raises:
            UserError: nothing to train on.
        """
        if epochs < 1 or batch_size < 1 or not len(features):
            raise UserError(
                f"got {epochs} epochs of {len(features)} sequences in batches of {batch_size};"
                " expected at least 1 of each"
            )
        self.batch_size = batch_size
        self._features, self._layout, self._pad_id = features, label_layout, pad_id
        self._seed, self._epochs, self._ways = seed, epochs, ways
        self._units = len(features.unit_starts) - 1
        self.steps_per_epoch = -(-self._units // batch_size)
        self._planned: tuple[int, list[np.ndarray]] | None = None
        longest, shortest = int(features.lengths.max()), int(features.lengths.min())
        self.lengths: tuple[int, ...] = (rounded_up(longest, _LENGTH_STEP, positions),)
        self._places = min(batch_size, self.lengths[0] // max(shortest, 1))
        rows = batch_size * features.lengths.mean() / self.lengths[0]
        self._row_step = max(int(rows / _ROW_STEPS), 1)
        self.packed = lengths is None and features.unit_size == 1 and self._packs_well()
        if not self.packed:
            self.lengths = lengths or choose_lengths(features.unit_lengths, batch_size)

    def __len__(self) -> int:
        return self._epochs * self.steps_per_epoch

    def __getitem__(self, step: int) -> Batch:
        if not 0 <= step < len(self):
            raise IndexError(f"got step {step}; expected one from 0 to {len(self) - 1}")
        rows = self.rows(step)
        size = self._features.unit_size
        batch = lay_out(self._features, rows, self._pad_id)
        return batch | self._layout(self._features, rows, size)

    def iterate(self, start: int = 0) -> Prefetched:
        """Yield batches `start`, `start + 1`, … to the end, made ahead of time by a thread."""
        return Prefetched(self, start, workers=0, threads=1, buffer=4)

    def rows(self, step: int) -> Rows:
        """Which sequences make the batch of a step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        planned = self._planned
        if planned is None or planned[0] != epoch:
            plan = self._shuffled(epoch) if self.packed else self._sorted(epoch)
            planned = self._planned = epoch, plan
        units = planned[1][place]
        return self._packed(units, self._ways) if self.packed else self._one_a_row(units)

    def real_token_fraction(self) -> float:
        """Share of all positions of all batches that hold a token."""
        return self._real(self.rows(step) for step in range(len(self)))

    def _packs_well(self) -> bool:
        return self._real(self._packed(units, 1) for units in self._shuffled(0)) >= _REAL_ENOUGH

    def _real(self, batches: Iterator[Rows]) -> float:
        real = places = 0
        for rows in batches:
            real += int(rows.spans(self._features)[1].sum())
            places += len(rows.sequences) * rows.length
        return real / places

    def _shuffled(self, epoch: int) -> list[np.ndarray]:
        order = shuffled(stream_key(_ORDER_STREAM, self._seed, epoch, 0), self._units)
        return [order[i : i + self.batch_size] for i in range(0, self._units, self.batch_size)]

    def _sorted(self, epoch: int) -> list[np.ndarray]:
        order = shuffled(stream_key(_ORDER_STREAM, self._seed, epoch, 0), self._units)
        lengths = self._features.unit_lengths
        window = _WINDOW_BATCHES * self.batch_size
        batches = []
        for begin in range(0, self._units, window):
            units = order[begin : begin + window]
            units = units[np.argsort(lengths[units], kind="stable")]
            batches += [
                units[i : i + self.batch_size] for i in range(0, len(units), self.batch_size)
            ]
        chosen = shuffled(stream_key(_ORDER_STREAM, self._seed, epoch, 1), len(batches))
        return [batches[i] for i in chosen]

    def _packed(self, units: np.ndarray, ways: int) -> Rows:
        step = -(-self._row_step // ways) * ways
        sequences = _pack(self._features, units, self.lengths[0], self._places, step)
        return Rows(sequences, self.lengths[0], self.batch_size)

    def _one_a_row(self, units: np.ndarray) -> Rows:
        size = self._features.unit_size
        sequences = np.full((self.batch_size, size), NO_SEQUENCE, np.int64)
        begins = self._features.unit_starts[units]
        counts = self._features.unit_starts[units + 1] - begins
        number = np.arange(size)
        sequences[: len(units)] = np.where(
            number < counts[:, None], begins[:, None] + number, NO_SEQUENCE
        )
        longest = int(self._features.unit_lengths[units].max())
        return Rows(sequences.reshape(-1, 1), length_for(longest, self.lengths))


def packed_rows(features: Sequences, batch_rows: int, positions: int, step: int = 64) -> list[Rows]:
    """Pack all sequences into rows of one length, first-fit, the longest first.

    One shape, and so one compilation, whatever the lengths are. Packed sequences do not see each
    other.

    Args:
        features: all sequences are packed, each once.
        batch_rows: B.
        positions: of the model; rows are not longer.
        step: the length of rows is a multiple of this, if not `positions`. Their places for
            sequences are a power of two in number, so that other sequences of about these lengths
            have the same shape.
    """
    length = rounded_up(int(features.lengths.max()), step, positions)
    table = _pack(features, np.arange(len(features)), length, 1, batch_rows)
    places = 1 << (table.shape[1] - 1).bit_length()
    table = np.pad(table, ((0, 0), (0, places - table.shape[1])), constant_values=NO_SEQUENCE)
    return [Rows(table[i : i + batch_rows], length) for i in range(0, len(table), batch_rows)]


def _pack(
    features: Sequences, chosen: np.ndarray, length: int, places: int, multiple: int
) -> np.ndarray:
    """First-fit, the longest first, into a multiple of so many rows of at least so many places."""
    order = chosen[np.argsort(-features.lengths[chosen], kind="stable")]
    row_of = first_fit(features.lengths[order], length, length)
    counts = np.bincount(row_of)
    by_row = np.argsort(row_of, kind="stable")
    slots = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = -(-len(counts) // multiple) * multiple
    sequences = np.full((rows, max(places, int(counts.max()))), NO_SEQUENCE, np.int64)
    sequences[row_of[by_row], slots] = order[by_row]
    return sequences
