"""A corpus on disk: tokenised documents as a TFDS dataset, with their vocabulary inside.

A corpus is one folder, which `tfds.builder_from_directory` and `tfds.data_source` read as it is:

    dataset_info.json features.json …     what TFDS needs
    corpus-train.array_record-00000 …     records {"name", "pieces", "sentence_lengths"}
    corpus-heldout.array_record-00000 …
    vocab.txt                             the vocabulary the pieces are ids of
    corpus.json                           settings, digests of all files, the doctor's report
    arrays/train  arrays/heldout          the same pieces as flat arrays, to be mapped

What is read is compared with its digest, at 1.5 GB a second, so damaged bits are an error and never
other pieces. (Corpora of before there were digests are read as they are.)
"""

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bert_jax.arguments import is_url
from bert_jax.bucket import Prefix
from bert_jax.bucket_lock import alone_making
from bert_jax.data.beam_corpus import write_with_beam
from bert_jax.data.beam_run import BeamRun
from bert_jax.data.doctor import CorpusReport, Doctor
from bert_jax.data.document import Document
from bert_jax.data.documents import ArraysWriter, Documents, write_arrays
from bert_jax.data.passages import key_of, plan_passages, split_by_passages
from bert_jax.data.records import (
    RecordWriter,
    Shard,
    fingerprint,
    read_records,
    write_metadata,
)
from bert_jax.data.remarks import remarks_on
from bert_jax.data.selection import Selection, select_documents
from bert_jax.data.sources import Source
from bert_jax.data.tokenised import TokenisedDocument
from bert_jax.data.tokenising import tokenise_all
from bert_jax.errors import DamagedFileError, UserError
from bert_jax.file_digests import CHANGED, check_digests, digests_of, read_sealed, write_sealed
from bert_jax.mirror import at_hand, copy_of, names_at, told_by_url
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.text.vocabulary_record import arguments_of, text_settings
from bert_jax.whole_file import whole_folder

SPLITS = ("train", "heldout")
_VERSION = 1  # of the layout above and of how documents become records


@dataclass(frozen=True)
class Corpus:
    """An opened corpus.

    Attributes:
        data_dir: its folder.
        fingerprint: hex; the same for the same pieces in the same order, with the same vocabulary.
        report: what the doctor saw while it was built.
        settings: what it was built with.
        digests: of its other files, by name; empty where it was built before there were any.
    """

    data_dir: Path
    fingerprint: str
    report: CorpusReport
    settings: dict[str, Any]
    digests: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    @told_by_url()
    def open(cls, data_dir: str | os.PathLike[str]) -> "Corpus":
        """Open the corpus that `build_corpus` left in `data_dir`; of a bucket's, a copy here.

        Raises:
            UserError: there is none.
            DamagedFileError: its `corpus.json` is not what was written. So do `tokenizer`, `train`
                and `heldout`, each of what it reads.
        """
        given, data_dir = data_dir, at_hand(data_dir)
        if not is_corpus(data_dir):
            raise UserError(
                f"got {str(given)!r}, which holds no corpus; expected a folder made by "
                "experiments.build_corpus"
            )
        return cls._read(data_dir)

    @classmethod
    def _read(cls, data_dir: Path) -> "Corpus":
        file = data_dir / "corpus.json"
        try:
            content = read_sealed(file, _remedy(data_dir))
            report = CorpusReport.from_json(content["report"])
            settings = content["settings"]
            settings["vocab_hash"], settings["tokenizer"]["lowercase"]
            digests = content.get("digests", {})
            return cls(data_dir, content["fingerprint"], report, settings, digests)
        except OSError as error:
            raise _damage(data_dir, file, f"it cannot be read: {error.strerror}") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise _damage(data_dir, file, CHANGED) from error

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer the corpus was made with."""
        file = self.data_dir / "vocab.txt"
        self._check(file.name)
        tokenizer = Tokenizer.from_file(file, **arguments_of(self.settings["tokenizer"]))
        if tokenizer.vocab_hash != self.vocab_hash:
            raise _damage(self.data_dir, file, CHANGED)
        return tokenizer

    @property
    def vocab_hash(self) -> str:
        """The hash of the vocabulary (`Tokenizer.vocab_hash`)."""
        return self.settings["vocab_hash"]

    @cached_property
    def train(self) -> Documents:
        """The documents to train on."""
        return self._documents("train")

    @cached_property
    def heldout(self) -> Documents:
        """The documents to measure with; no text of theirs is in `train`."""
        return self._documents("heldout")

    def _documents(self, split: str) -> Documents:
        folder = self.data_dir / "arrays" / split
        if not folder.is_dir():  # someone copied the dataset alone
            self._check("dataset_info.json", "features.json", f"corpus-{split}.")
            records = read_records(self.data_dir, split)
            arrays = ((pieces, lengths) for _, pieces, lengths in records)
            write_arrays(arrays, folder, self.tokenizer.vocab_size)
        self._check(f"arrays/{split}/")
        try:
            documents = Documents.load(folder)
        except (OSError, ValueError, EOFError, SyntaxError) as error:  # without digests
            raise _damage(self.data_dir, folder, f"its arrays cannot be read: {error}") from error
        if not self.digests and (reason := documents.damage(self.tokenizer.vocab_size)):
            raise _damage(self.data_dir, folder, reason)
        return documents

    def _check(self, *beginnings: str) -> None:
        """Compare the files whose names begin so with their digests."""
        chosen = {name: of for name, of in self.digests.items() if name.startswith(beginnings)}
        check_digests(self.data_dir, chosen, _remedy(self.data_dir))


def is_corpus(path: str | os.PathLike[str]) -> bool:
    """Whether it is a folder made by `build_corpus`, perhaps damaged since."""
    lost = {"dataset_info.json", "features.json", "vocab.txt"}  # without corpus.json, damaged
    names = {"corpus.json", *lost}
    if is_url(path):
        there = names.intersection(names_at(path))
    else:
        there = {name for name in names if (Path(path) / name).is_file()}
    return "corpus.json" in there or lost <= there


def _remedy(data_dir: Path) -> str:
    return f"remove {data_dir} and build it again, or take a copy"


def _damage(data_dir: Path, file: Path, reason: str) -> DamagedFileError:
    return DamagedFileError(file, reason, _remedy(data_dir))


def build_corpus(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    data_dir: str | Path,
    heldout_fraction: float = 0.05,
    workers: int = 1,
    drop_duplicates: bool = False,
    drop_duplicate_lines: bool = False,
    progress: Callable[[int], None] = lambda source_bytes: None,
    beam: BeamRun | None = None,
) -> CorpusReport:
    """Tokenise documents into a corpus at `data_dir`; do nothing if it already exists.

    The folder appears whole or not at all. Its content depends on the documents, the tokenizer and
    the settings, not on the number of workers, nor on whether they are Beam's. Memory does not grow
    with the input, except for 8 bytes per document, and 8 per distinct line with
    `drop_duplicate_lines`.

    Args:
        documents: what `sources.open_source` gives, or any documents.
        tokenizer: makes the pieces; its vocabulary is stored with them.
        data_dir: the folder to make.
        heldout_fraction: about this share of the documents is held out. Which ones is decided
            by a hash of a document's text, so a copy never lands on the other side. Where that
            leaves fewer than two documents on a side, passages of all are held out instead
            (`passages.py`).
        workers: processes that tokenise.
        drop_duplicates: whether documents whose text occurred before are left out.
        drop_duplicate_lines: whether lines that occurred before, in any document, are left out.
        progress: called with the bytes of input of each document.
        beam: tokenises and writes on Beam's workers instead; `documents` must be a `Source`.

    Raises:
        UserError: `data_dir` holds something else, or a corpus of another input, vocabulary or
            other settings; another process is making it; it cannot be written; or the input has
            too little text: none, or a sentence or two where some are to be held out.
    """
    if not 0 <= heldout_fraction < 1:
        raise UserError(f"got heldout_fraction={heldout_fraction}; expected 0 or more, less than 1")
    selection = Selection(heldout_fraction, drop_duplicates, drop_duplicate_lines)
    settings = {
        "version": _VERSION,
        "input": documents.identity if isinstance(documents, Source) else None,
        "vocab_hash": tokenizer.vocab_hash,
        "tokenizer": text_settings(tokenizer),
        **asdict(selection),
    }
    if is_corpus(data_dir):
        return _already_built(data_dir, settings)
    if names_at(data_dir):
        raise UserError(
            f"got data_dir {str(data_dir)!r}, which holds something else; expected a folder that "
            "is empty or not there yet"
        )
    with alone_making(data_dir, str(data_dir)), whole_folder(data_dir, alone=True) as partial:
        _make_arrays(partial)
        start = time.perf_counter()
        doctor = Doctor()
        if beam is None:
            tokenised = tokenise_all(documents, tokenizer, workers)
            chosen = select_documents(tokenised, selection, doctor, progress)
            shards = _write(chosen, tokenizer, partial)
        else:
            assert isinstance(documents, Source), "Beam's workers read shares of a Source"
            shards = write_with_beam(
                beam, documents, tokenizer, selection, doctor, progress, partial, SPLITS
            )
        write_metadata(partial, shards)
        if heldout_fraction and doctor.saw_too_few:
            shards = _hold_out_passages(partial, tokenizer, heldout_fraction, doctor) or shards
            write_metadata(partial, shards)
        doctor.check_enough(heldout_fraction)
        tokenizer.save(partial / "vocab.txt")
        files = sorted(file for file in partial.rglob("*") if file.is_file())
        disk = sum(file.stat().st_size for file in files)
        report = doctor.report(disk, time.perf_counter() - start)
        left_out = documents.remarks if isinstance(documents, Source) else ()
        report = replace(report, remarks=(*left_out, *remarks_on(report, tokenizer)))
        content = {
            "fingerprint": fingerprint(tokenizer.vocab_hash, shards),
            "settings": settings,
            "report": report.to_json(),
            "digests": digests_of(partial, [f.relative_to(partial).as_posix() for f in files]),
        }
        write_sealed(partial / "corpus.json", content)
    return report


def _make_arrays(folder: Path) -> None:
    for split in SPLITS:
        (folder / "arrays" / split).mkdir(parents=True)


def _write(
    documents: Iterable[tuple[str, TokenisedDocument]], tokenizer: Tokenizer, folder: Path
) -> dict[str, list[Shard]]:
    """Write records and arrays of (split, document) in one pass; return what the shards hold."""
    with RecordWriter(folder, SPLITS) as records, ExitStack() as stack:
        arrays = {
            split: stack.enter_context(
                ArraysWriter(folder / "arrays" / split, tokenizer.vocab_size)
            )
            for split in SPLITS
        }
        for split, document in documents:
            records.write(split, document)
            arrays[split].write(document.pieces, document.sentence_lengths)
    return records.shards


def _hold_out_passages(
    folder: Path, tokenizer: Tokenizer, heldout_fraction: float, doctor: Doctor
) -> dict[str, list[Shard]] | None:
    """Write the documents of a folder anew, split by passages; None where they are too short."""
    written = [Documents.load(folder / "arrays" / split) for split in SPLITS]
    cuts = plan_passages(chain.from_iterable(map(_lengths_and_keys, written)), heldout_fraction)
    if cuts is None:
        return None
    doctor.forget_kept()
    doctor.by_passages = any(len(runs) > 1 for runs in cuts)

    def seen() -> Iterator[tuple[str, TokenisedDocument]]:
        records = chain.from_iterable(read_records(folder, split) for split in SPLITS)
        for split, document in split_by_passages(records, cuts, tokenizer.unk_id):
            doctor.see_kept(split, document.sentence_lengths, document.unknown)
            yield split, document

    with TemporaryDirectory(dir=folder) as anew:
        _make_arrays(Path(anew))
        shards = _write(seen(), tokenizer, Path(anew))
        for old in folder.glob("*.array_record*"):
            old.unlink()
        shutil.rmtree(folder / "arrays")
        for made in Path(anew).iterdir():
            os.rename(made, folder / made.name)
    return shards


def _lengths_and_keys(documents: Documents) -> Iterator[tuple[np.ndarray, bytes]]:
    for number in range(documents.num_documents):
        first, end = documents.document_starts[number : number + 2]
        starts = documents.sentence_starts[first : end + 1]
        yield np.diff(starts), key_of(documents.pieces[starts[0] : starts[-1]])


def _already_built(data_dir: str | Path, settings: dict[str, Any]) -> CorpusReport:
    if is_url(data_dir):  # the rest is not needed
        at_hand(f"{Prefix(data_dir).url}/corpus.json")
    corpus = Corpus._read(copy_of(data_dir))
    for name, value in settings.items():
        if corpus.settings.get(name) != value or (name == "input" and value is None):
            raise UserError(
                f"got data_dir {str(data_dir)!r}, which holds a corpus with another {name} "
                f"({corpus.settings.get(name)}, not {value}); expected the same, an empty folder "
                "or a new one"
            )
    return corpus.report
