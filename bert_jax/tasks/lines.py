"""The lines of a text file, plain or gzipped, with their numbers: every reader begins here."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from bert_jax.errors import UserError
from bert_jax.json_reading import NotJSONError, parse_json, shortened
from bert_jax.mirror import at_hand


class LineError(UserError):
    """A line that is not as it should be: `number` of `source`."""

    def __init__(self, source: str | Path, number: int, message: str, unit: str = "line"):
        super().__init__(f"{_place(source, number, unit)}: {message}")
        self.number, self.unit = number, unit


@dataclass(frozen=True)
class Line:
    """A line of a file, or an item in memory, that is to be labelled.

    Attributes:
        source: the file, for errors.
        number: from 1.
        texts: what stands between its tabs; () of an object.
        content: of an object or of a row with named columns, its members.
        unit: what the number counts: a line, an item in memory, a question.
    """

    source: str
    number: int
    texts: tuple[str, ...]
    content: Mapping[str, Any] | None = None
    unit: str = "line"

    @classmethod
    def parsed(cls, source: str, number: int, text: str) -> Line:
        """Read a line of text: an object where it begins with {.

        Raises:
            UserError: it begins so and is not valid JSON.
        """
        if not text.lstrip().startswith("{"):
            return cls(source, number, tuple(text.split("\t")))
        try:
            return cls(source, number, (), parse_json(text))
        except NotJSONError as error:
            raise LineError(
                source,
                number,
                f"got invalid JSON ({error}); expected an object, or a text that does not begin"
                f" with {{",
            ) from error

    @classmethod
    def of_item(cls, number: int, item: Any) -> Line:
        """A text, a pair of texts, or an object, as a notebook has it."""
        source = "the examples"
        if isinstance(item, Mapping):
            return cls(source, number, (), item, "item")
        texts = (item,) if isinstance(item, str) else item
        if not isinstance(texts, tuple) or not texts or not all(isinstance(t, str) for t in texts):
            raise LineError(
                source,
                number,
                f"got {shortened(repr(item))}; expected a text, a tuple of two, or a dict",
                "item",
            )
        return cls(source, number, texts, None, "item")

    @property
    def place(self) -> str:
        """Where it stands, for errors: x.txt, line 3."""
        return _place(self.source, self.number, self.unit)

    def wrong(self, message: str) -> LineError:
        """The error that says so of this line."""
        return LineError(self.source, self.number, message, self.unit)

    def text(self, name: str) -> str:
        """A member of the object that is a text.

        Raises:
            UserError: it is not there, of another type, or empty.
        """
        value = (self.content or {}).get(name)
        if not isinstance(value, str) or not value:
            raise self.wrong(
                f"got {name} = {shortened(repr(value))}; expected a text that is not empty"
            )
        return value

    def list_of_texts(self, name: str) -> tuple[str, ...]:
        """A member of the object that is a list of texts.

        Raises:
            UserError: it is not there, something else, or empty.
        """
        value = (self.content or {}).get(name)
        if not value or not isinstance(value, list | tuple):
            raise self.wrong(
                f"got {name} = {shortened(repr(value))}; expected a list that is not empty"
            )
        if not all(isinstance(each, str) for each in value):
            raise self.wrong(f"got {name} = {shortened(repr(value))}; expected a list of texts")
        return tuple(value)

    def wanted(self, members: str) -> LineError:
        """The error of a text where there should be an object."""
        return self.wrong(f"got a text; expected an object with {members}")


def _place(source: str | Path, number: int, unit: str) -> str:
    return f"{source}, {unit} {number}"


def numbered_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    r"""Yield (number from 1, line without its end); only \n and \r\n end a line.

    Raises:
        UserError: no such file, broken gzip, or a line that is not valid UTF-8, with its number.
    """
    for number, line in each_line(path):
        if isinstance(line, LineError):
            raise line
        yield number, line


def each_line(path: str | Path) -> Iterator[tuple[int, str | LineError]]:
    """The same, and instead of a line that is not valid UTF-8 the error that names it."""
    with opened(path) as file:
        yield from decoded(str(path), file)


def decoded(source: str, lines: Iterable[bytes]) -> Iterator[tuple[int, str | LineError]]:
    """The same of an open file, such as standard input."""
    for number, line in enumerate(lines, 1):
        if (error := wrong_bytes(source, number, line)) is not None:
            yield number, error
            continue
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        yield number, text.removesuffix("\n").removesuffix("\r")


def wrong_bytes(source: str, number: int, line: bytes) -> LineError | None:
    """The error of a line that is not valid UTF-8; None where it is.

    Raises:
        LineError: the first line is UTF-16, as all of the file will be.
    """
    if number == 1 and (encoding := _utf16(line)):
        marked = line[:2].hex(" ").upper() if encoding == "UTF-16" else "every other byte is zero"
        raise LineError(
            source,
            number,
            f"got UTF-16 (at byte 0: {marked}); expected UTF-8 text, which"
            f" `iconv -f {encoding} -t UTF-8` makes of it",
        )
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        return LineError(
            source,
            number,
            f"got text that is not valid UTF-8 (at byte {error.start} of the line); expected UTF-8"
            " text, which `iconv -f ISO-8859-1 -t UTF-8` makes of Latin-1",
        )
    return None


def _utf16(line: bytes) -> str:
    """What iconv calls the UTF-16 that a file begins with; empty of anything else."""
    if line[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "UTF-16"
    first, second = line[::2].count(0), line[1::2].count(0)  # the high bytes of ASCII are 0
    zeros = max(first, second)
    if not zeros or 3 * zeros < len(line):
        return ""
    return "UTF-16LE" if second > first else "UTF-16BE"


def each_example(
    source: str, lines: Iterable[tuple[int, str | LineError]], objects: bool = False
) -> Iterator[Line | LineError]:
    """Read an example a line, a text or an object; empty lines are left out.

    Args:
        source: where they stand, for errors.
        lines: with their numbers.
        objects: whether every line must be an object.
    """
    for number, line in lines:
        if isinstance(line, LineError):
            yield line
        elif line.strip():
            try:
                found = Line.parsed(source, number, line)
                if objects and found.content is None:
                    raise found.wrong(f"got {line[:60]!r}; expected one JSON object per line")
                yield found
            except LineError as error:
                yield error


@contextmanager
def opened(path: str | Path) -> Iterator[BinaryIO]:
    """The content of a file, unzipped where it is gzip.

    Raises:
        UserError: no such file, or broken gzip.
    """
    try:
        with at_hand(path).open("rb") as file:
            zipped = file.peek(2)[:2] == b"\x1f\x8b"
            if not zipped:
                yield file
                return
            most = _SMALL + _MOST_UNPACKED * os.fstat(file.fileno()).st_size
            yield cast(BinaryIO, io.BufferedReader(_Bounded(gzip.GzipFile(fileobj=file), most)))
    except _TooLargeError as error:
        raise UserError(
            f"got {path}, which unpacks to more than {error} bytes; expected text, unpacked if it"
            " is as large as that"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"got {path}, which cannot be read ({reason}); expected a file") from error


class _TooLargeError(Exception):
    """Says how much would have been allowed."""


class _Bounded(io.RawIOBase):
    """A stream of which no more is read than text of its packed size can be."""

    def __init__(self, stream: BinaryIO | gzip.GzipFile, most: int) -> None:
        self._stream, self._most, self._read = stream, most, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill part of a buffer; return how much, 0 at the end."""
        data = self._stream.read(len(buffer))
        self._read += len(data)
        if self._read > self._most:
            raise _TooLargeError(f"{self._most:,}")
        buffer[: len(data)] = data
        return len(data)


_MOST_UNPACKED = 50  # times the packed size; text packs to a third, tables to a tenth
_SMALL = 16 << 20  # bytes that nobody counts


def read_bytes(path: str | Path) -> bytes:
    """Return the content of a file, unzipped where it is gzip, without the last line end.

    Raises:
        UserError: no such file, or broken gzip.
    """
    with opened(path) as file:
        return file.read().removesuffix(b"\n")


def content_hash(path: str | Path) -> str:
    """SHA-256 of a file's (unzipped) content, in hexadecimal."""
    return hashlib.sha256(read_bytes(path)).hexdigest()
