"""From text to an opened corpus, with a vocabulary: found, or made in a working directory."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bert_jax.data.beam_run import BeamRun
from bert_jax.data.corpus import Corpus, build_corpus, is_corpus
from bert_jax.data.remarks import first_look
from bert_jax.data.sources import Source, open_source
from bert_jax.errors import UserError
from bert_jax.progress import ProgressBar
from bert_jax.text.splitting import WORDS, Splitting, splitting_of
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.text.word_counts import WordCounts, WordSettings, count_words
from bert_jax.text.wordpiece_learner import LearnedVocabulary, learn_vocabulary

# The vocabulary that was learned, and the record of it. What took long is not made twice.
LEARNED = ("vocab.txt", "vocab.txt.json")


def built_corpus(inputs: Sequence[str] | Source) -> Corpus | None:
    """The corpus that `inputs` name, where they are the folder of one that was built before."""
    if isinstance(inputs, Source) or len(inputs) != 1 or not is_corpus(inputs[0]):
        return None
    return Corpus.open(inputs[0])


def prepare_corpus(
    inputs: Sequence[str] | Source,
    *,
    vocab: str | None = None,
    vocab_size: int,
    lowercase: bool | None = None,
    splitting: str | None = None,
    heldout_fraction: float = 0.05,
    workdir: Path,
    tokenizer: Tokenizer | None = None,
    words: WordSettings | None = None,
) -> Corpus:
    """Open the corpus that `inputs` name; build it first if there is none yet.

    Args:
        inputs: one folder made by `build_corpus`, or what `open_source` takes or gives.
        vocab: a vocab.txt; None learns one of `vocab_size` pieces from the text.
        vocab_size: V of a learned vocabulary.
        lowercase: whether the vocabulary is uncased; None for yes, or as `vocab` was learned.
        splitting: how text is split (`bert_jax.text.splitting`); None for words, or as the corpus
            that is there says.
        heldout_fraction: about this share of the documents is held out.
        workdir: where vocabulary and corpus are put.
        tokenizer: to use instead of `vocab`, `vocab_size`, `lowercase` and `splitting`.
        words: how a vocabulary that is learned treats text, instead of `lowercase` and `splitting`.

    Raises:
        UserError: text that cannot be read or is too little, or another vocabulary or splitting
            than that of the corpus that is there.
    """
    corpus = built_corpus(inputs)
    if corpus is not None:
        if vocab and Tokenizer.from_file(vocab, lowercase).vocab_hash != corpus.vocab_hash:
            raise UserError(
                f"got vocab={vocab}, but the corpus in {corpus.data_dir} was made with another"
                " vocabulary; expected the same, or no `vocab` at all"
            )
        own = corpus.tokenizer.splitting
        if splitting is not None and splitting_of(splitting) != own:
            raise UserError(
                f"got splitting={splitting!r}, but the corpus in {corpus.data_dir} was made with"
                f" {own.name!r}; expected the same, or no `splitting` at all"
            )
        return corpus
    settings = words or WordSettings.asked(splitting, lowercase)
    source = inputs if isinstance(inputs, Source) else open_source(inputs)
    if tokenizer is not None:
        tokenizer.save(workdir / LEARNED[0])
    elif vocab:
        tokenizer = Tokenizer.from_file(vocab, lowercase, splitting=splitting)
    if not is_corpus(workdir / "corpus"):
        say_first_remarks(source, tokenizer, heldout_fraction, settings.splitting)
    if tokenizer is None:
        learned_file = workdir / LEARNED[0]
        if not _is_learned(workdir, source, vocab_size, settings):
            learned = learn_from(source, vocab_size, settings)
            learned.record["input"] = source.identity
            learned.save(learned_file)
        tokenizer = Tokenizer.from_file(
            learned_file,
            settings.lowercase,
            settings.strip_accents,
            settings.split_chinese,
            settings.splitting,
        )
    with ProgressBar("tokenising", source.total_bytes) as bar:
        build_corpus(
            source,
            tokenizer,
            workdir / "corpus",
            heldout_fraction=heldout_fraction,
            workers=os.cpu_count() or 1,
            progress=bar.advance,
        )
    return Corpus.open(workdir / "corpus")


def _is_learned(workdir: Path, source: Source, vocab_size: int, settings: WordSettings) -> bool:
    """Whether the vocabulary in the working directory is the one that would be learned now."""
    vocab, record = (workdir / name for name in LEARNED)
    if not (vocab.exists() and record.exists()) or is_corpus(workdir / "corpus"):
        return vocab.exists()
    try:
        found = json.loads(record.read_bytes())
        same = {"vocab_size": vocab_size, **settings.to_dict()}.items() <= found["settings"].items()
        same = same and WordSettings.from_dict(found["settings"]) == settings
        return same and found.get("input") == source.identity
    except (ValueError, KeyError, TypeError, AttributeError):  # damaged: it is learned again
        return False


def say_first_remarks(
    source: Source,
    tokenizer: Tokenizer | None,
    heldout_fraction: float,
    splitting: Splitting = WORDS,
) -> None:
    """Look at the first documents, and print to stderr what deserves a remark, a line each.

    Raises:
        UserError: they cannot become a corpus (`remarks.first_look`).
    """
    for remark in first_look(source, tokenizer, heldout_fraction, splitting):
        print(f"warning: {remark}", file=sys.stderr)


def learn_from(
    source: Source,
    vocab_size: int,
    settings: WordSettings,
    beam: BeamRun | None = None,
    beside: Path = Path("vocab.txt"),
) -> LearnedVocabulary:
    """Learn a vocabulary of `vocab_size` pieces from all documents of `source`.

    With `beam` its workers count the words, and put their sum in a folder `beside` that path.
    """
    began = time.perf_counter()
    if beam is not None:
        counts = count_with_beam(beam, source, settings, beside)
    else:
        with ProgressBar("counting words", source.total_bytes) as bar:
            counts = count_words(texts_of(source, bar), settings)
    counted = time.perf_counter()
    with ProgressBar("learning pieces", vocab_size) as bar:
        learned = learn_vocabulary(
            counts, vocab_size, progress=lambda done, _: bar.update(done, f"{done:,}")
        )
    learned.record["seconds_counting"] = counted - began
    return learned


def count_with_beam(
    beam: BeamRun, source: Source | Sequence[Path], settings: WordSettings, beside: Path
) -> WordCounts:
    """Count the words of documents, or of files that are text, on Beam's workers."""
    # Here and not above: importing Beam takes a second, which others need not pay.
    from bert_jax.data.beam_counts import count_words_with_beam

    return count_words_with_beam(beam, source, settings, beside)


def texts_of(source: Source, bar: ProgressBar) -> Iterator[str]:
    """The text of every document, moving `bar` on as they are read."""
    for document in source:
        yield document.whole_text
        bar.advance(document.source_bytes)
