"""Tokenised documents as three flat arrays, mapped from disk."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax.whole_file import whole_folder


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
        folder: where the arrays are, if they were mapped. Pickling then sends this path and not
            the arrays, so that worker processes map the same memory.
    """

    pieces: np.ndarray
    sentence_starts: np.ndarray
    document_starts: np.ndarray
    folder: Path | None = None

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

    def pieces_of(self, index: int) -> np.ndarray:
        """Return the pieces [n] of one document."""
        start, end = self.sentence_starts[self.document_starts[index : index + 2]]
        return self.pieces[start:end]

    def damage(self, vocab_size: int) -> str | None:
        """What cannot be in arrays that are whole; None where nothing is. Reads all of them."""
        for starts, end in (
            (self.sentence_starts, self.num_pieces),
            (self.document_starts, self.num_sentences),
        ):
            ends = len(starts) and (starts[0], starts[-1])
            if ends != (0, end) or (np.diff(starts) < 1).any():
                return "their lengths do not agree"
        if self.num_pieces and not 0 <= self.pieces.min() <= self.pieces.max() < vocab_size:
            return f"they hold ids that are not from 0 to {vocab_size - 1}"
        return None

    @classmethod
    def load(cls, folder: str | Path) -> "Documents":
        """Map the arrays that `write_arrays` left in a folder."""
        pieces, sentence_starts, document_starts = (
            np.load(Path(folder) / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            for name in _NAMES
        )
        return cls(pieces, sentence_starts, document_starts, Path(folder))

    def __reduce__(self) -> tuple[Any, ...]:
        if self.folder is not None:
            return Documents.load, (self.folder,)
        return Documents, (self.pieces, self.sentence_starts, self.document_starts)


_NAMES = ("pieces", "sentence_starts", "document_starts")


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
    with (
        whole_folder(folder, keep_other=True) as partial,
        ArraysWriter(partial, vocab_size) as writer,
    ):
        for pieces, lengths in documents:
            writer.write(pieces, lengths)


class ArraysWriter:
    """Appends documents to the three arrays of `Documents` in an existing folder."""

    def __init__(self, folder: Path, vocab_size: int):
        """Begin empty arrays; they are whole once the `with` block is left."""
        dtypes = (piece_dtype(vocab_size), np.int64, np.int64)
        self._pieces, self._sentences, self._documents = (
            _GrowingArray(folder / f"{name}.npy", dtype)
            for name, dtype in zip(_NAMES, dtypes, strict=True)
        )
        self._sentences.append(np.zeros(1))
        self._documents.append(np.zeros(1))

    def write(self, pieces: np.ndarray, sentence_lengths: np.ndarray) -> None:
        """Append one document: its pieces [n], and how many of them each sentence has, [s]."""
        self._sentences.append(self._pieces.length + np.cumsum(sentence_lengths, dtype=np.int64))
        self._pieces.append(pieces)
        self._documents.append(np.array([self._sentences.length - 1]))

    def extend(self, documents: Documents) -> None:
        """Append all of these documents at once."""
        self._documents.append(self._sentences.length - 1 + documents.document_starts[1:])
        self._sentences.append(self._pieces.length + documents.sentence_starts[1:])
        self._pieces.append(documents.pieces)

    def __enter__(self) -> "ArraysWriter":
        return self

    def __exit__(self, *_: object) -> None:
        for array in (self._pieces, self._sentences, self._documents):
            array.close()


class _GrowingArray:
    """A one-dimensional .npy file, written piece by piece, its length filled in at the end."""

    _HEADER = 128  # bytes; room for any length

    def __init__(self, path: Path, dtype: type):
        self._dtype = np.dtype(dtype)
        self._file = path.open("wb")
        self._file.write(b"\0" * self._HEADER)
        self.length = 0

    def append(self, values: np.ndarray) -> None:
        self._file.write(values.astype(self._dtype, copy=False).data)
        self.length += len(values)

    def close(self) -> None:
        # The .npy format, version 1.0: magic, version, length of the header text, the text.
        text = (
            f"{{'descr': '{self._dtype.str}', 'fortran_order': False, 'shape': ({self.length},)}}"
        )
        room = self._HEADER - 10
        header = (
            b"\x93NUMPY\x01\x00" + room.to_bytes(2, "little") + f"{text:<{room - 1}}\n".encode()
        )
        self._file.seek(0)
        self._file.write(header)
        self._file.close()
