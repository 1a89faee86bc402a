"""Tokenised documents as three flat arrays, mapped from disk."""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Documents:
    """All documents of a split. T pieces, s sentences, d documents:

        pieces            [T]      | how are you | fine . | and you ? || yes | thanks ||
        sentence_starts   [s + 1]    0             3        5            8     9        10
        document_starts   [d + 1]    0                                   3              5

    Sentence i is `pieces[sentence_starts[i] : sentence_starts[i + 1]]` and is never empty; document
    j holds the sentences `document_starts[j]` to `document_starts[j + 1]`, at least one. The arrays
    are read-only maps of files: opening costs nothing and processes share the memory.

    Attributes:
        pieces: uint16 where the vocabulary allows, else int32; no special pieces but [UNK].
        sentence_starts: int64 offsets into `pieces`; the last is T.
        document_starts: int64 offsets into the sentences; the last is s.
    """

    pieces: np.ndarray
    sentence_starts: np.ndarray
    document_starts: np.ndarray

    @property
    def num_documents(self) -> int:
        """d."""
        return len(self.document_starts) - 1

    @property
    def num_sentences(self) -> int:
        """s."""
        return len(self.sentence_starts) - 1

    @property
    def num_pieces(self) -> int:
        """T."""
        return len(self.pieces)

    def sentence(self, index: int) -> np.ndarray:
        """Return the pieces [n] of one sentence of the split."""
        return self.pieces[self.sentence_starts[index] : self.sentence_starts[index + 1]]

    def document(self, index: int) -> list[np.ndarray]:
        """Return the sentences of one document, each its pieces [n]."""
        start, end = self.document_starts[index : index + 2]
        return [self.sentence(i) for i in range(int(start), int(end))]

    @classmethod
    def load(cls, folder: str | Path) -> "Documents":
        """Map the arrays that `write_arrays` left in a folder."""
        return cls(*(_map(Path(folder) / f"{name}.npy") for name in _NAMES))


_NAMES = ("pieces", "sentence_starts", "document_starts")


def _map(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r")


def piece_dtype(vocab_size: int) -> type[np.unsignedinteger] | type[np.signedinteger]:
    """The narrower of uint16 and int32 that holds every id."""
    return np.uint16 if vocab_size <= 1 << 16 else np.int32


def write_arrays(
    documents: Iterable[tuple[np.ndarray, np.ndarray]], folder: str | Path, vocab_size: int
) -> None:
    """Write (pieces [n], sentence lengths [s]) of every document as one folder of flat arrays.

    Streams: memory holds one document. The folder appears whole or not at all; where another
    process was faster, its folder stands.
    """
    folder = Path(folder)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        dtypes = (piece_dtype(vocab_size), np.int64, np.int64)
        files = [
            _GrowingArray(partial / f"{name}.npy", dtype)
            for name, dtype in zip(_NAMES, dtypes, strict=True)
        ]
        pieces_file, sentences_file, documents_file = files
        pieces_end = sentences_end = 0
        sentences_file.append(np.zeros(1))
        documents_file.append(np.zeros(1))
        for pieces, lengths in documents:
            pieces_file.append(pieces)
            sentences_file.append(pieces_end + np.cumsum(lengths, dtype=np.int64))
            pieces_end += len(pieces)
            sentences_end += len(lengths)
            documents_file.append(np.array([sentences_end]))
        for file in files:
            file.close()
        try:
            os.rename(partial, folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class _GrowingArray:
    """A one-dimensional .npy file, written piece by piece, its length filled in at the end."""

    _HEADER = 128  # bytes; room for any length

    def __init__(self, path: Path, dtype: type):
        self._dtype = np.dtype(dtype)
        self._file = path.open("wb")
        self._file.write(b"\0" * self._HEADER)
        self._length = 0

    def append(self, values: np.ndarray) -> None:
        self._file.write(values.astype(self._dtype, copy=False).data)
        self._length += len(values)

    def close(self) -> None:
        # The .npy format, version 1.0: magic, version, length of the header text, the text.
        text = (
            f"{{'descr': '{self._dtype.str}', 'fortran_order': False, 'shape': ({self._length},)}}"
        )
        room = self._HEADER - 10
        header = (
            b"\x93NUMPY\x01\x00" + room.to_bytes(2, "little") + f"{text:<{room - 1}}\n".encode()
        )
        self._file.seek(0)
        self._file.write(header)
        self._file.close()
