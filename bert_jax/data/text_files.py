"""Text files, plain or gzipped, as documents: four formats, all read in bounded memory."""

import glob
import gzip
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, cast

from bert_jax.data.document import LONGEST_DOCUMENT, Document, decode
from bert_jax.errors import UserError

Format = Literal["auto", "text", "blocks", "sentences", "jsonl"]
FORMATS: tuple[Format, ...] = ("auto", "text", "blocks", "sentences", "jsonl")

# What a folder is searched for; a file that is named, or found by a glob, may be called anything.
FOLDER_SUFFIXES = ("", ".txt", ".text", ".md", ".rst", ".jsonl")


def find_files(pattern: str) -> list[Path]:
    """Return the files a path, folder or glob stands for, sorted.

    A folder means every file under it that is not hidden and has one of `FOLDER_SUFFIXES`, also
    followed by ".gz".

    Raises:
        UserError: nothing is there, or a file cannot be read.
    """
    path = Path(pattern)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and _wanted(file, path))
        expected = f"files ending in {' '.join(filter(None, FOLDER_SUFFIXES))} (or .gz of these)"
    elif path.exists():
        files, expected = [path], ""
    else:
        files = sorted(Path(f) for f in glob.glob(pattern, recursive=True) if os.path.isfile(f))
        expected = "python_docs, tfds:NAME, or a file, folder or glob that exists"
    if not files:
        raise UserError(f"got input {pattern!r}, where there is no file; expected {expected}")
    for file in files:
        if not os.access(file, os.R_OK):
            raise UserError(f"got {str(file)!r}, which may not be read; expected a readable file")
    return files


def _wanted(file: Path, folder: Path) -> bool:
    name = Path(file.name.removesuffix(".gz"))
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return not hidden and name.suffix in FOLDER_SUFFIXES


def format_of(path: Path) -> Format:
    """Return the format that `auto` takes a file for, by its name alone.

    `*.jsonl` is JSON lines, `*.docs.txt` blocks, `*.sents.txt` sentences, anything else text; a
    `.gz` behind it changes nothing.
    """
    name = path.name.removesuffix(".gz")
    if name.endswith(".jsonl"):
        return "jsonl"
    if name.endswith(".docs.txt"):
        return "blocks"
    return "sentences" if name.endswith(".sents.txt") else "text"


def read_documents(path: Path, text_format: Format, text_column: str | None) -> Iterator[Document]:
    """Read the documents of one file, in order.

        format      a document is         a line is            for example
        text        the file              part of a paragraph  a novel, a web page
        blocks      lines to a blank one  a paragraph          a dictionary, Wikipedia as lines
        sentences   lines to a blank one  a sentence           the input of the original BERT
        jsonl       a line                {"text": "…"}        most corpora of today

    Args:
        path: the file; gzipped or not is seen from its first bytes.
        text_format: one of the above, or "auto" (see `format_of`).
        text_column: for JSON lines, which member holds the text; None is "text".

    Raises:
        UserError: the file is binary, broken gzip, or not the JSON lines it should be.
    """
    chosen = format_of(path) if text_format == "auto" else text_format
    try:
        with open(path, "rb") as raw:
            stream = _open_text(raw, path)
            if chosen == "text":
                documents = _read_text(stream, path)
            elif chosen == "jsonl":
                documents = _read_json_lines(stream, path, text_column or "text")
            else:
                documents = _read_blocks(stream, path, chosen == "sentences")
            before = 0
            for name, text, bad_bytes in documents:
                position = raw.tell()  # of the compressed file, where it is one
                yield Document(name, text, bad_bytes, position - before)
                before = position
    except OSError as error:  # gzip.BadGzipFile is one
        raise UserError(f"got {str(path)!r}, which cannot be read: {error}") from error
    except (EOFError, zlib.error) as error:
        raise UserError(
            f"got {str(path)!r}, which is broken gzip ({error}); expected a whole .gz file"
        ) from error


def _open_text(raw: BinaryIO, path: Path) -> BinaryIO:
    zipped = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if zipped else raw
    # The sign that git and grep go by.
    if b"\0" in stream.read(8000):
        raise UserError(
            f"got {str(path)!r}, which holds bytes of value 0 and so is no text; expected UTF-8: "
            "leave the file out or convert it"
        )
    stream.seek(0)
    return stream


_Found = Iterator[tuple[str, str | tuple[str, ...], int]]


def _read_text(stream: BinaryIO, path: Path) -> _Found:
    for number, data in enumerate(_cut(stream, whole_lines=False), 1):
        text, bad_bytes = decode(data)
        yield (f"{path}#{number}" if number > 1 else str(path)), text, bad_bytes


def _read_blocks(stream: BinaryIO, path: Path, one_sentence_a_line: bool) -> _Found:
    number = size = 0
    lines: list[bytes] = []

    def finish() -> tuple[str, str | tuple[str, ...], int]:
        texts = [decode(line.strip()) for line in lines]
        paragraphs = tuple(text for text, _ in texts if text)
        text = paragraphs if one_sentence_a_line else "\n\n".join(paragraphs)
        return f"{path}:{number}", text, sum(bad for _, bad in texts)

    for line in _cut(stream, whole_lines=True):
        if lines and (line.isspace() or size + len(line) > LONGEST_DOCUMENT):
            number += 1
            yield finish()
            size, lines = 0, []
        if not line.isspace():
            lines.append(line)
            size += len(line)
    if lines:
        number += 1
        yield finish()


def _read_json_lines(stream: BinaryIO, path: Path, column: str) -> _Found:
    for number, line in enumerate(stream, 1):
        if line.isspace():
            continue
        text, bad_bytes = decode(line)
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{path}, line {number}: got no JSON ({error.msg} at character {error.pos}); "
                "expected one object a line"
            ) from error
        if not isinstance(row, dict) or not isinstance(row.get(column), str):
            columns = list(row) if isinstance(row, dict) else type(row).__name__
            raise UserError(
                f"{path}, line {number}: got {columns}; expected an object with a string "
                f"{column!r} (choose another with --text_column)"
            )
        for part, piece in enumerate(_parts(row[column]), 1):
            name = f"{path}:{number}" if part == 1 else f"{path}:{number}#{part}"
            yield name, piece, bad_bytes if part == 1 else 0


def _parts(text: str) -> Iterator[str]:
    for start in range(0, max(1, len(text)), LONGEST_DOCUMENT):
        yield text[start : start + LONGEST_DOCUMENT]


def _cut(stream: BinaryIO, whole_lines: bool) -> Iterator[bytes]:
    """Cut a stream into lines, or into one whole, but never more than `LONGEST_DOCUMENT` bytes.

    What is longer is cut at the last blank line, else line end, else space, of its second half,
    else between two characters.
    """
    rest = b""
    while True:
        read = stream.readline if whole_lines else stream.read
        data = rest + read(LONGEST_DOCUMENT - len(rest))
        if not data:
            return
        if len(data) < LONGEST_DOCUMENT or (whole_lines and data.endswith(b"\n")):
            yield data
            rest = b""
            continue
        end = _last_gap(data)
        yield data[:end]
        rest = data[end:]


def _last_gap(data: bytes) -> int:
    for gap in (b"\n\n", b"\n", b" "):
        at = data.rfind(gap, len(data) // 2)
        if at >= 0:
            return at + len(gap)
    # Not before a continuation byte (10xxxxxx); at most three lie behind a lead byte.
    for end in range(len(data) - 1, len(data) - 5, -1):
        if data[end] & 0xC0 != 0x80:
            return end
    return len(data)
