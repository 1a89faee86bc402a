"""Files as streams of UTF-8 bytes: unpacked where packed, recoded where they are UTF-16 or -32."""

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bert_jax.errors import UserError

PACKED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst")
# What a look at the beginning of a file sees of it, in bytes.
GLANCE = 1 << 16

_MARKS = {  # UTF-32's first: it begins with UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@contextmanager
def open_bytes(path: Path) -> Iterator[tuple[io.BufferedReader, io.FileIO]]:
    """Open a file that is text; yield its bytes in UTF-8, and the file, which tells how far it is.

    How it is packed and encoded is seen from its first bytes. What is no character in UTF-16
    becomes the byte 0xff, which is none in UTF-8, so that the reader counts it.

    Raises:
        UserError: also inside the block: the file is binary, cannot be read, or is cut off.
    """
    try:
        with path.open("rb", buffering=0) as file:
            stream = _unpacked(file)
            head = stream.peek(GLANCE)
            encoding = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
            if encoding is not None:
                stream = io.BufferedReader(_Recoded(stream, encoding), GLANCE)
            elif b"\0" in head[:8000]:  # the sign that git and grep go by
                raise UserError(
                    f"got {str(path)!r}, which holds bytes of value 0, so it is not text; expected "
                    "UTF-8, or UTF-16 with its mark: leave the file out or convert it"
                )
            yield stream, file
    except OSError as error:  # gzip.BadGzipFile is one
        raise UserError(f"got {str(path)!r}, which cannot be read: {error}") from error
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise UserError(
            f"got {str(path)!r}, which is broken gzip, bzip2 or xz ({error}); expected a whole file"
        ) from error


def is_plain(path: Path) -> bool:
    """Whether the file's bytes are UTF-8 as they are, if they are text at all."""
    with path.open("rb") as file:
        head = file.read(8)
    return not any(head.startswith(mark) for mark in (*_MARKS, *_UNPACKERS))


def _unpacked(file: io.FileIO) -> io.BufferedReader:
    head = file.read(8)
    file.seek(0)
    unpackers = (unpack for magic, unpack in _UNPACKERS.items() if head.startswith(magic))
    return io.BufferedReader(next(unpackers, lambda file: file)(file), GLANCE)


def _unpack_gzip(file: io.FileIO) -> Any:
    return gzip.GzipFile(fileobj=file)


def _unpack_zstd(file: io.FileIO) -> Any:
    import pyarrow as pa  # here and not above, since it takes a while

    return pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd")


_UNPACKERS: dict[bytes, Any] = {
    b"\x1f\x8b": _unpack_gzip,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": _unpack_zstd,
}


class _Recoded(io.RawIOBase):
    """A stream in another encoding, as UTF-8."""

    def __init__(self, stream: io.BufferedReader, encoding: str):
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._rest = b""

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill part of a buffer; return how much, 0 at the end."""
        ended = False
        while not self._rest and not ended:
            data = self._stream.read(GLANCE)
            ended = not data
            text = self._decoder.decode(data, final=ended)
            self._rest = text.encode().replace("\ufffd".encode(), b"\xff")
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size
