r"""Learn a WordPiece vocabulary from raw text.

    python -m experiments.learn_vocab --input=books --vocab_size=30522 --output=vocab.txt

`--input` is `python_docs` (the default), a file, a folder, a glob (also of `gs://…` and `s3://…`),
or `tfds:NAME`; it may be given several times. Writes, each whole or not at all:

    vocab.txt        a piece a line: [PAD] [UNK] [CLS] [SEP] [MASK], [unused…], characters, pieces
    vocab.txt.json   corpus hash, settings, likelihood, and the gain of every merge
    vocab.txt.svg    the gain against the size of the vocabulary

Pieces are chosen by how much they raise the likelihood of the text (Schuster & Nakajima 2012).
`--criterion=frequency` takes the most frequent pair instead, which is byte pair encoding.
`--drop_unused` gives rows that encoding hardly uses to later pieces, a departure from the
literature. `--min_gain` stops the first time the best gain is below it.

Counting the words takes longest; `--save_word_counts=FILE` keeps them and `--word_counts=FILE`
starts from them. 63 MB of text, 30,522 rows, 2 cores: 5 s, 0.3 GB (the first run compiles, 11 s
more). docs/vocabulary.md has speed, memory and quality, measured.

Text that is cut already (molecules, proteins, code) is split by `--splitting=spaces`, or by a
regular expression; its parts are then the pieces, the most frequent first (docs/tokenizer.md).

`--beam_runner=NAME` counts on Apache Beam's workers and finds the same; its own options are given
by `--beam_options=--NAME=VALUE` (docs/corpus_at_scale.md). `--beam_bucket=gs://…` is for workers
that share no disk.
"""

import time
from pathlib import Path
from tempfile import TemporaryFile
from typing import cast

from absl import flags

from bert_jax.arguments import is_url
from bert_jax.cli import command
from bert_jax.cli.beam_flags import beam_asked, define_beam
from bert_jax.cli.outputs import check_new, define_overwrite
from bert_jax.cli.text_flags import define_treatment, treatment
from bert_jax.data.beam_run import BeamRun, open_beam
from bert_jax.data.found_files import find_files
from bert_jax.data.preparation import count_with_beam, texts_of
from bert_jax.data.sources import Source, open_source
from bert_jax.data.text_files import FORMATS, Format, is_plain_text
from bert_jax.errors import UserError
from bert_jax.figures import Lines, draw_lines
from bert_jax.memory import check_workers
from bert_jax.progress import ProgressBar
from bert_jax.text.word_counts import (
    WordCounts,
    WordSettings,
    count_words,
    count_words_in_files,
)
from bert_jax.text.wordpiece_learner import Criterion, LearnedVocabulary, learn_vocabulary
from bert_jax.whole_file import write_text

_INPUT = flags.DEFINE_multi_string(
    "input",
    ["python_docs"],
    "Text to learn from: python_docs, a file, folder, glob or tfds:NAME; may be repeated.",
)
_VOCAB_SIZE = flags.DEFINE_integer(
    "vocab_size", 30522, "Size of the vocabulary, in tokens, special ones included."
)
_OUTPUT = flags.DEFINE_string("output", "vocab.txt", "File to write.")
define_overwrite()
_CRITERION = flags.DEFINE_enum(
    "criterion",
    "likelihood",
    ["likelihood", "frequency"],
    "How the next merge is chosen: likelihood (WordPiece), or frequency (BPE).",
)
_MIN_GAIN = flags.DEFINE_float(
    "min_gain", 0.0, "Stop when the best merge gains less: nats, or occurrences for frequency."
)
_DROP_UNUSED = flags.DEFINE_bool(
    "drop_unused", False, "Replace tokens that encoding hardly ever uses by later merges."
)
_COVERAGE = flags.DEFINE_float(
    "coverage", 0.99999, "Share of all characters in the text that the alphabet must cover."
)
_UNUSED_ROWS = flags.DEFINE_integer(
    "unused_rows", 0, "Rows [unused0] … to leave free for your own tokens."
)
_WORD_COUNTS = flags.DEFINE_string(
    "word_counts", None, "Start from a file of word counts instead of counting."
)
_SAVE_WORD_COUNTS = flags.DEFINE_string(
    "save_word_counts", None, "File to save the word counts to, for --word_counts."
)
_FORMAT = flags.DEFINE_enum(
    "format",
    "auto",
    FORMATS,
    "Layout of the text files; auto tells it from their names and first bytes.",
)
_TEXT_COLUMN = flags.DEFINE_string(
    "text_column", None, "The JSON key or the column that holds the text; by default text."
)
_MIN_COUNT = flags.DEFINE_integer(
    "min_count",
    1,
    "Fewest occurrences of a token, for text that is already split (--splitting).",
    lower_bound=1,
)
define_treatment()
_WORKERS = flags.DEFINE_integer(
    "workers", None, "Threads that count words; by default one per core, up to four.", 1
)
define_beam()


def main() -> None:
    """Count, learn, write, and print the record."""
    output = str(_OUTPUT.value)
    check_workers(_WORKERS.value or 1)
    beam = open_beam(**beam_asked())
    _check_writable(output)
    check_new("output", output, f"{output}.json", f"{output}.svg")
    if _SAVE_WORD_COUNTS.value is not None:
        check_new("save_word_counts", _SAVE_WORD_COUNTS.value)
    began = time.perf_counter()
    counts = _counted(beam)
    seconds_counting = time.perf_counter() - began
    if _SAVE_WORD_COUNTS.value is not None:
        counts.save(_SAVE_WORD_COUNTS.value)
    with ProgressBar("learning pieces", _VOCAB_SIZE.value) as bar:
        learned = learn_vocabulary(
            counts,
            _VOCAB_SIZE.value or 0,
            criterion=cast(Criterion, _CRITERION.value),
            min_gain=_MIN_GAIN.value or 0.0,
            drop_unused=bool(_DROP_UNUSED.value),
            coverage=_COVERAGE.value or 0.0,
            unused_rows=_UNUSED_ROWS.value or 0,
            min_count=_MIN_COUNT.value or 1,
            progress=lambda done, _: bar.update(done, f"{done:,}"),
        )
    learned.record["seconds_counting"] = seconds_counting
    _write(learned, output)
    shown = {k: v for k, v in learned.record.items() if not isinstance(v, list | dict)}
    command.print_table(output, shown)


def _counted(beam: BeamRun | None) -> WordCounts:
    if _WORD_COUNTS.value is not None:
        if _INPUT.present:
            raise UserError(
                "got both --input and --word_counts; expected one of them: the counts stand for "
                "the input they were made from"
            )
        return WordCounts.load(_WORD_COUNTS.value)
    settings = WordSettings.asked(**treatment())
    files = _plain_files(_INPUT.value)
    if beam is not None:
        source = files if files is not None else _source()
        return count_with_beam(beam, source, settings, Path(_OUTPUT.value))
    if files is not None:
        total = sum(file.stat().st_size for file in files)
        with ProgressBar("counting words", total) as bar:
            return count_words_in_files(files, settings, _WORKERS.value, bar.update)
    source = _source()
    with ProgressBar("counting words", source.total_bytes) as bar:
        return count_words(texts_of(source, bar), settings, _WORKERS.value)


def _source() -> Source:
    return open_source(_INPUT.value, cast(Format, _FORMAT.value), _TEXT_COLUMN.value)


def _plain_files(inputs: list[str]) -> list[Path] | None:
    """Return the files if all inputs are files whose bytes are the text, which is counted fastest.

    None where something has to be unpacked first: gzip, JSON, datasets.
    """
    if any(name == "python_docs" or name.startswith("tfds:") or is_url(name) for name in inputs):
        return None
    column = _TEXT_COLUMN.value
    files = [file for name in inputs for file in find_files(name, column).files]
    plain = all(is_plain_text(file, cast(Format, _FORMAT.value), column) for file in files)
    return files if plain else None


def _check_writable(output: str) -> None:
    """Find out before the work, not after it, that its result could not be written."""
    if is_url(output):
        return  # `check_new` does
    try:
        if Path(output).is_dir():
            raise IsADirectoryError(21, "it is a folder")
        TemporaryFile(dir=Path(output).parent).close()
    except OSError as error:
        raise UserError(
            f"cannot write {output!r}: {error.strerror}; "
            "expected --output in a folder that exists and can be written"
        ) from None


def _write(learned: LearnedVocabulary, output: str) -> None:
    unit = "nats" if _CRITERION.value == "likelihood" else "occurrences"
    record = learned.record
    if "gains" not in record:
        learned.save(output)
        return
    gains = Lines(
        {"gains": list(zip(record["sizes"], record["gains"], strict=True))},
        f"{Path(output).name}: {record['words']:,} words, {record['types']:,} types",
        "rows in the vocabulary",
        f"gain of the merge ({unit})",
        log_x=True,
        log_y=True,
    )
    learned.save(output)
    write_text(f"{output}.svg", draw_lines(gains))


if __name__ == "__main__":
    command.run(main)
