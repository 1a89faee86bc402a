"""Batches of real tokens: sorted inside windows for training, packed for evaluation.

A training batch is a pure function of (features, seed, step), as in `bert_jax.data.loader`.
"""

from collections.abc import Iterator

import numpy as np

from bert_jax.data.counter_rng import shuffled, stream_key
from bert_jax.data.packing import first_fit
from bert_jax.data.prefetch import Prefetched
from bert_jax.errors import UserError
from bert_jax.tasks.features import Features
from bert_jax.tasks.layout import NO_SEQUENCE, Batch, LabelLayout, Rows, lay_out
from bert_jax.tasks.lengths import choose_lengths, length_for

_ORDER_STREAM = 11
_WINDOW_BATCHES = 100


class TrainingBatches:
    """Every unit once an epoch, `batch_size` units a batch, units of about one length together.

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
        lengths: tuple[int, ...] | None = None,
    ) -> None:
        """Describe the run.

        Args:
            features: the training part.
            label_layout: how the head's labels are laid out.
            seed: names the order.
            epochs: how often each unit is met.
            batch_size: units (sequences, or questions with all their choices) of a batch.
            pad_id: of the vocabulary.
            lengths: the lengths rows may have; None chooses few that waste little.

        Raises:
            UserError: nothing to train on.
        """
        if epochs < 1 or batch_size < 1 or not len(features):
            raise UserError(
                f"got {epochs} epochs of {len(features)} sequences in batches of {batch_size};"
                " expected at least 1 of each"
            )
        self.batch_size = batch_size
        self.lengths = lengths or choose_lengths(features.unit_lengths, batch_size)
        self._features, self._layout, self._pad_id = features, label_layout, pad_id
        self._seed, self._epochs = seed, epochs
        self._units = len(features.unit_starts) - 1
        self.steps_per_epoch = -(-self._units // batch_size)
        self._planned: tuple[int, list[np.ndarray]] | None = None

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
            planned = self._planned = epoch, self._plan(epoch)
        units = planned[1][place]
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

    def real_token_fraction(self) -> float:
        """Share of all positions of all batches that hold a token."""
        real = places = 0
        for step in range(len(self)):
            rows = self.rows(step)
            real += int(rows.spans(self._features)[1].sum())
            places += len(rows.sequences) * rows.length
        return real / places

    def _plan(self, epoch: int) -> list[np.ndarray]:
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


def packed_rows(features: Features, batch_rows: int, step: int = 64) -> list[Rows]:
    """Pack all sequences into rows of one length, first-fit, the longest first.

    One shape, and so one compilation, whatever the lengths are. Packed sequences do not see each
    other.

    Args:
        features: all sequences are packed, each once.
        batch_rows: B.
        step: the length of rows is a multiple of this. Their places for sequences are a power of
            two in number, so that other sequences of about these lengths have the same shape.
    """
    lengths = features.lengths
    order = np.argsort(-lengths, kind="stable")
    length = -(-int(lengths.max()) // step) * step
    row_of = np.empty(len(lengths), np.int64)
    row_of[order] = first_fit(lengths[order], length, length)
    counts = np.bincount(row_of)
    by_row = np.argsort(row_of, kind="stable")
    slots = np.arange(len(by_row)) - np.repeat(np.cumsum(counts) - counts, counts)
    total = -(-len(counts) // batch_rows) * batch_rows
    places = 1 << (int(counts.max()) - 1).bit_length()
    sequences = np.full((total, places), NO_SEQUENCE, np.int64)
    sequences[row_of[by_row], slots] = by_row
    return [Rows(sequences[i : i + batch_rows], length) for i in range(0, total, batch_rows)]


def sorted_rows(features: Features, batch_rows: int, lengths: tuple[int, ...]) -> list[Rows]:
    """Put one sequence into a row, sequences of about one length into a batch."""
    order = np.argsort(features.lengths, kind="stable")
    rows = []
    for begin in range(0, len(order), batch_rows):
        chosen = order[begin : begin + batch_rows]
        sequences = np.full((batch_rows, 1), NO_SEQUENCE, np.int64)
        sequences[: len(chosen), 0] = chosen
        rows.append(Rows(sequences, length_for(int(features.lengths[chosen].max()), lengths)))
    return rows


def input_batches(features: Features, rows: list[Rows], pad_id: int) -> Iterator[Batch]:
    """The arrays of each batch, without labels."""
    return (lay_out(features, each, pad_id) for each in rows)
