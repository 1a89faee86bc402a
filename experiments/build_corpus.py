r"""Turn raw text into a tokenised corpus that `experiments.pretrain` trains on.

    python -m experiments.build_corpus --input=books --data_dir=corpora/books --vocab=vocab.txt

`--input` is `python_docs`, a file, a folder, a glob (also of `gs://…` and `s3://…`), or
`tfds:NAME`; it may be given several times. Files may be packed (.gz, .bz2, .xz, .zst). Every
document is split into sentences and pieces on all cores; a share of the documents is held out.
Without --vocab a vocabulary is learned first. The corpus doctor prints what it saw, and stores it
as `data_dir/result.json`. The same command again finds the corpus there and does nothing.

Text that is cut already (molecules, proteins, code) is split by `--splitting=spaces` or by a
regular expression; a line is then a sentence (docs/tokenizer.md).

`--beam_runner=DirectRunner` (DaskRunner, FlinkRunner, DataflowRunner, …) does the work on Apache
Beam's workers and makes the same bytes; `--beam_options=--NAME=VALUE`, given any number of times,
are the runner's own (docs/corpus_at_scale.md). Where none of its workers has begun after
`--beam_start_seconds`, the command ends. `--beam_bucket=gs://…` is for workers that share no disk.

How files are laid out goes by their names and how they begin, or by `--format`:

    text       a file is a document, blank lines part its paragraphs
    blocks     (*.docs.txt)  blank lines part documents, a line is a paragraph
    sentences  (*.sents.txt) blank lines part documents, a line is a sentence (the original BERT)
    jsonl      (*.jsonl)     a line is a document, {"text": ...}; another member by --text_column
    json       (*.json)      the same objects in an array, or laid out in any way
    wiki       (<doc id=…)   articles as WikiExtractor writes them
    table      (*.parquet, *.arrow) a row is a document; also a folder that `datasets` saved

Measured on 2 x86-64 cores that other jobs kept busy (load 4 to 8: the Rust library alone encoded
1.55 MB/s there, half of what it does on the idle machine), vocabulary of bert-base-uncased:

    --input=../shared/data/corpus (63.8 MB: 7,300 documents, 588,129 sentences, 14,840,623 pieces)
        --workers=1    25.2 s; 4.6 MB a second of CPU time; peak 197 MB
        --workers=2    16.6 s; 18.8 s of CPU time; peak 414 MB, all three processes together
    the same twice over (127.7 MB), --workers=1       36.6 s; peak 202 MB: memory stays flat
    one file of 50 MB without a line end, --workers=1  5.6 s; peak 225 MB
    --input=python_docs (33 MB of source, 10.6 MB of text), --workers=2   12.4 s; peak 342 MB
"""

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

from absl import flags

from bert_jax.bucket_lock import alone_making
from bert_jax.cli import command
from bert_jax.cli.beam_flags import beam_asked, define_beam
from bert_jax.cli.text_flags import define_treatment, treatment
from bert_jax.data.beam_run import BeamRun, open_beam
from bert_jax.data.corpus import Corpus, build_corpus, is_corpus
from bert_jax.data.doctor import CorpusReport
from bert_jax.data.preparation import learn_from, say_first_remarks
from bert_jax.data.sources import Source, open_source
from bert_jax.data.text_files import FORMATS, Format
from bert_jax.memory import check_workers, peak_rss_bytes
from bert_jax.mirror import names_at
from bert_jax.progress import ProgressBar
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.text.word_counts import WordSettings
from bert_jax.whole_file import write_json

_INPUT = flags.DEFINE_multi_string(
    "input",
    ["python_docs"],
    "Text to read: python_docs, a file, folder, glob or tfds:NAME; may be repeated.",
)
_VOCAB = flags.DEFINE_string("vocab", None, "A vocab.txt; by default a vocabulary is learned.")
_VOCAB_SIZE = flags.DEFINE_integer(
    "vocab_size", 30522, "Size of the learned vocabulary, in tokens.", lower_bound=1
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder to create for the corpus.", required=True)
_WORKERS = flags.DEFINE_integer(
    "workers",
    os.cpu_count() or 1,
    "Processes that tokenise; by default one per core.",
    lower_bound=1,
)
define_beam()
_FORMAT = flags.DEFINE_enum(
    "format",
    "auto",
    FORMATS,
    "Layout of the text files; auto tells it from their names and first bytes.",
)
_TEXT_COLUMN = flags.DEFINE_string(
    "text_column", None, "The JSON key or the column that holds the text; by default text."
)
_HELDOUT_FRACTION = flags.DEFINE_float(
    "heldout_fraction", 0.05, "Share of the documents held out for evaluation."
)
_DROP_DUPLICATES = flags.DEFINE_bool(
    "drop_duplicates", False, "Leave out documents that occurred before."
)
_DROP_DUPLICATE_LINES = flags.DEFINE_bool(
    "drop_duplicate_lines",
    False,
    "Leave out lines (paragraphs) that occurred before in any document.",
)
define_treatment()


def main() -> None:
    """Build the corpus the flags describe and print the doctor's report."""
    data_dir = _DATA_DIR.value.rstrip("/")
    check_workers(_WORKERS.value or 1)
    beam = open_beam(**beam_asked())
    source = open_source(_INPUT.value, cast(Format, _FORMAT.value), _TEXT_COLUMN.value)
    reused = is_corpus(data_dir)
    with nullcontext() if reused else alone_making(data_dir, f"data_dir={data_dir}"):
        tokenizer = _tokenizer(source, data_dir, beam)
        report = _build(source, tokenizer, data_dir, beam)
    if not (reused and "result.json" in names_at(data_dir)):
        how: dict[str, Any]
        if beam is None:
            how = {"workers": _WORKERS.value, "peak_rss_bytes": peak_rss_bytes(_WORKERS.value or 1)}
        else:
            how = {"beam_runner": beam.runner, "beam_options": beam.options}
        result = {**report.to_json(), **how}
        write_json(f"{data_dir}/result.json", result)
    title = f"{data_dir}: {'was built before' if reused else 'built'}"
    command.print_table(title, report.rows())


def _build(
    source: Source, tokenizer: Tokenizer, data_dir: str, beam: BeamRun | None
) -> CorpusReport:
    with ProgressBar("tokenising", source.total_bytes) as bar:
        return build_corpus(
            source,
            tokenizer,
            data_dir,
            heldout_fraction=_HELDOUT_FRACTION.value,
            workers=_WORKERS.value,
            drop_duplicates=_DROP_DUPLICATES.value,
            drop_duplicate_lines=_DROP_DUPLICATE_LINES.value,
            progress=bar.advance,
            beam=beam,
        )


def _tokenizer(source: Source, data_dir: str, beam: BeamRun | None) -> Tokenizer:
    """The vocabulary that was given, that of the corpus that is there, or one that is learned."""
    settings = WordSettings.asked(**treatment())
    how = settings.lowercase, settings.strip_accents, settings.split_chinese, settings.splitting
    given = None if _VOCAB.value is None else Tokenizer.from_file(_VOCAB.value, **treatment())
    if given is None and is_corpus(data_dir):
        built = Corpus.open(data_dir).tokenizer
        return Tokenizer(built.pieces, *how, added=built.added)
    if not is_corpus(data_dir):
        say_first_remarks(source, given, _HELDOUT_FRACTION.value or 0.0, settings.splitting)
    if given is not None:
        return given
    learned = learn_from(source, _VOCAB_SIZE.value, settings, beam, Path(data_dir))
    return Tokenizer(learned.pieces, *how)


if __name__ == "__main__":
    command.run(main)
