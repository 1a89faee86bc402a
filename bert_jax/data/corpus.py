"""A corpus on disk: tokenised documents as a TFDS dataset, with their vocabulary inside.

A corpus is one folder, which `tfds.builder_from_directory` and `tfds.data_source` read as it is:

    dataset_info.json features.json …     what TFDS needs
    corpus-train.array_record-00000 …     records {"name", "pieces", "sentence_lengths"}
    corpus-heldout.array_record-00000 …
    vocab.txt                             the vocabulary the pieces are ids of
    corpus.json                           settings, hashes and the doctor's report
    arrays/train  arrays/heldout          the same pieces as flat arrays, to be mapped
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bert_jax.data.doctor import CorpusReport, Doctor
from bert_jax.data.document import Document
from bert_jax.data.documents import ArraysWriter, Documents, write_arrays
from bert_jax.data.records import RecordWriter, read_records
from bert_jax.data.selection import keep_documents, split_documents
from bert_jax.data.sources import Source
from bert_jax.data.tokenising import tokenise_all
from bert_jax.errors import UserError
from bert_jax.text.tokenizer import Tokenizer

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
    """

    data_dir: Path
    fingerprint: str
    report: CorpusReport
    settings: dict[str, Any]

    @classmethod
    def open(cls, data_dir: str | Path) -> "Corpus":
        """Open the corpus that `build_corpus` left in `data_dir`.

        Raises:
            UserError: there is none.
        """
        data_dir = Path(data_dir)
        try:
            content = json.loads((data_dir / "corpus.json").read_text())
        except OSError as error:
            raise UserError(
                f"got {str(data_dir)!r}, which holds no corpus; expected a folder made by "
                "experiments.build_corpus"
            ) from error
        return cls(
            data_dir,
            content["fingerprint"],
            CorpusReport.from_json(content["report"]),
            content["settings"],
        )

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer the corpus was made with."""
        return Tokenizer.from_file(self.data_dir / "vocab.txt", **self.settings["tokenizer"])

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
            write_arrays(read_records(self.data_dir, split), folder, self.tokenizer.vocab_size)
        return Documents.load(folder)


def is_corpus(path: str | Path) -> bool:
    """Whether `Corpus.open` would open it."""
    return (Path(path) / "corpus.json").is_file()


def build_corpus(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    data_dir: str | Path,
    heldout_fraction: float = 0.05,
    workers: int = 1,
    drop_duplicates: bool = False,
    drop_duplicate_lines: bool = False,
    progress: Callable[[int], None] = lambda source_bytes: None,
) -> CorpusReport:
    """Tokenise documents into a corpus at `data_dir`; do nothing where it is there already.

    The folder appears whole or not at all. Its records depend on the documents, the tokenizer and
    the settings, not on the number of workers. Memory does not grow with the input, but for 8
    bytes a document, and 8 a distinct line where `drop_duplicate_lines` asks for it.

    Args:
        documents: what `sources.open_source` gives, or any documents.
        tokenizer: makes the pieces; its vocabulary is stored with them.
        data_dir: the folder to make.
        heldout_fraction: about this share of the documents is held out. Which, is decided by a
            hash of a document's text, so a copy never lands on the other side.
        workers: processes that tokenise.
        drop_duplicates: whether documents whose text came before are left out.
        drop_duplicate_lines: whether lines that came before, in any document, are left out.
        progress: is called with the bytes of input each document took.

    Raises:
        UserError: `data_dir` holds something else, or a corpus of another input, vocabulary or
            other settings; it cannot be written; or the input has too little text: no documents,
            or just one where some are to be held out.
    """
    data_dir = Path(data_dir)
    if not 0 <= heldout_fraction < 1:
        raise UserError(f"got heldout_fraction={heldout_fraction}; expected 0 or more, less than 1")
    settings = {
        "version": _VERSION,
        "input": documents.identity if isinstance(documents, Source) else None,
        "vocab_hash": tokenizer.vocab_hash,
        "tokenizer": {
            "lowercase": tokenizer.lowercase,
            "strip_accents": tokenizer.strip_accents,
            "split_chinese": tokenizer.split_chinese,
        },
        "heldout_fraction": heldout_fraction,
        "drop_duplicates": drop_duplicates,
        "drop_duplicate_lines": drop_duplicate_lines,
    }
    if is_corpus(data_dir):
        return _already_built(data_dir, settings)
    if data_dir.exists() and (not data_dir.is_dir() or any(data_dir.iterdir())):
        raise UserError(
            f"got data_dir {str(data_dir)!r}, which holds something else; expected a folder that "
            "is empty or not there yet"
        )
    with _partial_folder(data_dir) as partial:
        start = time.perf_counter()
        doctor = Doctor()
        digest = hashlib.sha256(tokenizer.vocab_hash.encode())
        kept = keep_documents(
            tokenise_all(documents, tokenizer, workers),
            doctor,
            drop_duplicates=drop_duplicates,
            drop_duplicate_lines=drop_duplicate_lines,
            unk_id=tokenizer.unk_id,
            progress=progress,
        )
        with RecordWriter(partial, SPLITS) as records, ExitStack() as stack:
            arrays = {
                split: stack.enter_context(
                    ArraysWriter(_new_folder(partial / "arrays" / split), tokenizer.vocab_size)
                )
                for split in SPLITS
            }
            for split, document in split_documents(kept, heldout_fraction):
                doctor.see_kept(split, document.sentence_lengths, document.unknown)
                records.write(split, document.record)
                arrays[split].write(document.pieces, document.sentence_lengths)
                digest.update(split.encode() + document.sentence_lengths.tobytes())
                digest.update(document.pieces.tobytes())
        _check_enough(doctor, heldout_fraction)
        tokenizer.save(partial / "vocab.txt")
        disk = sum(file.stat().st_size for file in partial.rglob("*") if file.is_file())
        report = doctor.report(disk, time.perf_counter() - start)
        content = {
            "fingerprint": digest.hexdigest(),
            "settings": settings,
            "report": report.to_json(),
        }
        (partial / "corpus.json").write_text(json.dumps(content, indent=2) + "\n")
    return report


def _already_built(data_dir: Path, settings: dict[str, Any]) -> CorpusReport:
    corpus = Corpus.open(data_dir)
    for name, value in settings.items():
        if corpus.settings.get(name) != value or (name == "input" and value is None):
            raise UserError(
                f"got data_dir {str(data_dir)!r}, which holds a corpus with another {name} "
                f"({corpus.settings.get(name)}, not {value}); expected the same, an empty folder "
                "or a new one"
            )
    return corpus.report


def _check_enough(doctor: Doctor, heldout_fraction: float) -> None:
    train, heldout = (doctor.splits[split].documents for split in SPLITS)
    documents = train + heldout
    if not documents:
        raise UserError("got no text: every document is empty; expected documents with words")
    if heldout_fraction and not (train and heldout):
        raise UserError(
            f"got {documents} document{'s' if documents > 1 else ''}, all in one split; expected "
            "at least two different ones, to train on and to hold out; if the input holds many in "
            "one file, say how they are parted (blocks, sentences or jsonl)"
        )


@contextmanager
def _partial_folder(data_dir: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `data_dir` if all goes well, and vanishes if not."""
    prefix = f".{data_dir.name}.partial-"
    try:
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        for stale in data_dir.parent.glob(f"{prefix}*"):
            if not _is_running(stale.name.removeprefix(prefix)):  # killed, could not tidy up
                shutil.rmtree(stale, ignore_errors=True)
        partial = data_dir.with_name(f"{prefix}{os.getpid()}")
        partial.mkdir()
    except OSError as error:
        raise UserError(
            f"got data_dir {str(data_dir)!r}, which cannot be made ({error.strerror}: "
            f"{error.filename}); expected a place where folders can be written"
        ) from error
    try:
        yield partial
        try:
            os.rename(partial, data_dir)
        except OSError as error:
            raise UserError(
                f"got data_dir {str(data_dir)!r}, where the finished corpus cannot be put "
                f"({error.strerror}); expected a folder that is empty or not there yet"
            ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _new_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def _is_running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return True
