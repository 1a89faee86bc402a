"""From what `--corpus` names to an opened corpus: found, or made in the working directory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from bert_jax.data.corpus import Corpus, build_corpus, is_corpus
from bert_jax.data.sources import Source, open_source
from bert_jax.errors import UserError
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.text.word_counts import WordSettings, count_words
from bert_jax.text.wordpiece_learner import LearnedVocabulary, learn_vocabulary
from experiments.progress import StepProgress


def prepare_corpus(
    inputs: Sequence[str],
    *,
    vocab: str | None,
    vocab_size: int,
    lowercase: bool,
    heldout_fraction: float,
    workdir: Path,
) -> Corpus:
    """Open the corpus that `inputs` name, after building it where there is none yet.

    Args:
        inputs: one folder made by `experiments.build_corpus`, or what `open_source` takes.
        vocab: a vocab.txt; None learns one of `vocab_size` pieces from the text.
        vocab_size: V of a learned vocabulary.
        lowercase: whether the vocabulary is uncased.
        heldout_fraction: about this share of the documents is held out.
        workdir: where vocabulary and corpus are put.
    """
    if len(inputs) == 1 and is_corpus(inputs[0]):
        corpus = Corpus.open(inputs[0])
        if vocab and Tokenizer.from_file(vocab, lowercase).vocab_hash != corpus.vocab_hash:
            raise UserError(
                f"got --vocab={vocab}, but the corpus in {inputs[0]} was made with another"
                " vocabulary; expected the same, or no --vocab at all"
            )
        return corpus
    source = open_source(inputs)
    if vocab is None:
        vocab = str(workdir / "vocab.txt")
        if not Path(vocab).exists():
            _learn(source, vocab_size, lowercase).save(vocab)
    tokenizer = Tokenizer.from_file(vocab, lowercase)
    with StepProgress("tokenising (kB)", (source.total_bytes or 0) // 1000) as bar:
        done = 0

        def advance(source_bytes: int) -> None:
            nonlocal done
            done += source_bytes
            bar.update(done // 1000)

        build_corpus(
            source,
            tokenizer,
            workdir / "corpus",
            heldout_fraction=heldout_fraction,
            workers=os.cpu_count() or 1,
            progress=advance,
        )
    return Corpus.open(workdir / "corpus")


def _learn(source: Source, vocab_size: int, lowercase: bool) -> LearnedVocabulary:
    with StepProgress("counting words (kB)", (source.total_bytes or 0) // 1000) as bar:
        counts = count_words(_texts(source, bar), WordSettings(lowercase=lowercase))
    with StepProgress("learning pieces", vocab_size) as bar:
        return learn_vocabulary(counts, vocab_size, progress=lambda done, _: bar.update(done))


def _texts(source: Source, bar: StepProgress) -> Iterator[str]:
    done = 0
    for document in source:
        yield document.text if isinstance(document.text, str) else "\n".join(document.text)
        done += document.source_bytes
        bar.update(done // 1000)
