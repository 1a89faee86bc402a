"""Words counted by the workers of an Apache Beam runner: the same counts as on one machine."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import apache_beam as beam
import numpy as np

from bert_jax.data.beam_files import Exchange
from bert_jax.data.beam_run import BeamRun, Task, attempt
from bert_jax.data.document import Document
from bert_jax.data.sources import Source, shares_of
from bert_jax.text.text_blocks import Block, blocks_of_files, blocks_of_texts
from bert_jax.text.word_counts import WordCounts, WordSettings, count_words_in_blocks


def count_words_with_beam(
    run: BeamRun, source: Source | Sequence[Path], settings: WordSettings, beside: Path
) -> WordCounts:
    """Count words as `count_words` does those of a source, `count_words_in_files` those of files.

    Every worker adds up what it counts, and the sums are added where Beam likes.

    Args:
        run: the runner. Its workers see the input, and the folder of `beside`, under these paths.
        source: documents, or files whose bytes are the text.
        settings: how to make words.
        beside: a path in a folder to write in; nothing stays there.

    Raises:
        UserError: input that cannot be read, or a runner that does not work.
    """
    if isinstance(source, Source):
        shares = [partial(_blocks_of_documents, share) for share in source.shares]
    else:
        shares = [partial(blocks_of_files, share) for share in shares_of(source)]
    with run.exchange(beside) as work:
        marks = work / "counting"
        total = beam.CombineGlobally(_Total(settings, marks))
        run.run(total | beam.Map(_save, work=work), shares, marks)
        with work.read("counts") as counts:
            return WordCounts.load(counts / "counts")


def _blocks_of_documents(read: Callable[[], Iterator[Document]]) -> Iterator[Block]:
    return blocks_of_texts(document.whole_text for document in read())


def _save(counts: WordCounts, work: Exchange) -> None:
    with work.write("counts") as folder:
        counts.save(folder / "counts")


@dataclass
class _Sum:
    words: Counter[str] = field(default_factory=Counter)
    source_bytes: int = 0
    invalid_sequences: int = 0
    too_long: int = 0


class _Total(beam.CombineFn):
    def __init__(self, settings: WordSettings, marks: Exchange):
        self._settings, self._marks = settings, marks

    def create_accumulator(self) -> _Sum:
        return _Sum()

    def add_input(self, total: _Sum, task: Task) -> _Sum:
        number, read = task
        with attempt(self._marks, number):
            counted = count_words_in_blocks(read(), self._settings, workers=1)
            words = Counter(dict(zip(counted.words, counted.counts.tolist(), strict=True)))
            numbers = counted.source_bytes, counted.invalid_sequences, counted.too_long
            self.merge_accumulators([total, _Sum(words, *numbers)])
        return total

    def merge_accumulators(self, sums: Sequence[_Sum]) -> _Sum:
        total, *others = sums
        for other in others:
            total.words.update(other.words)
            total.source_bytes += other.source_bytes
            total.invalid_sequences += other.invalid_sequences
            total.too_long += other.too_long
        return total

    def extract_output(self, total: _Sum) -> WordCounts:
        words = sorted(total.words)
        return WordCounts(
            tuple(words),
            np.array([total.words[word] for word in words], np.int64),
            self._settings,
            total.source_bytes,
            total.invalid_sequences,
            total.too_long,
        )
