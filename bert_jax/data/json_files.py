"""JSON as documents: an object a line, or objects in an array or one after the other."""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from bert_jax.data.document import LONGEST_DOCUMENT, Document, cut_text, decode
from bert_jax.errors import UserError
from bert_jax.json_reading import NotJSONError, parse_json, shortened, why_not_json

_CHUNK = 1 << 20
_LONGEST_OBJECT = 8 * LONGEST_DOCUMENT  # characters
_BETWEEN = re.compile(r"[\s,\[\]]*")


def read_json_lines(stream: BinaryIO, path: Path, column: str) -> Iterator[Document]:
    """Yield a document a line: {"text": "…"}."""
    for number, line in enumerate(stream, 1):
        if line.isspace():
            continue
        text, bad_bytes = decode(line)
        try:
            row = parse_json(text)
        except NotJSONError as error:
            raise UserError(
                f"{path}, line {number}: got invalid JSON ({error}); expected one object per line"
            ) from error
        yield from _documents(row, f"{path}:{number}", f"{path}, line {number}", column, bad_bytes)


def read_json_objects(stream: BinaryIO, path: Path, column: str) -> Iterator[Document]:
    """Yield a document an object, of an array or of objects laid out in any way.

        [{"text": "One."},
         {"text": "Two."}]     ->  path:1  One.    path:2  Two.

    Memory holds a megabyte, or an object where one is longer.
    """
    decoder, to_text = json.JSONDecoder(), codecs.getincrementaldecoder("utf-8")("replace")
    text, at, number, bad_bytes, ended = "", 0, 0, 0, False
    while not ended:
        # As much again as is there: an object of any length is begun a few times only.
        data = stream.read(max(_CHUNK, len(text)))
        ended = not data
        more = to_text.decode(data, final=ended)
        bad_bytes += max(0, more.count("\ufffd") - data.count(b"\xef\xbf\xbd"))
        text, at = text[at:] + more, 0
        while True:
            at = _skip(text, at)
            if at == len(text):
                break
            try:
                row, at = decoder.raw_decode(text, at)
            except (ValueError, RecursionError) as error:
                # The rest of it may still come; what Python gives up on does not get better.
                torn = isinstance(error, json.JSONDecodeError)
                if torn and not ended and len(text) - at < _LONGEST_OBJECT:
                    break
                raise UserError(
                    f"{path}, object {number + 1}: got invalid JSON ({why_not_json(error)});"
                    " expected "
                    "objects, in an array or one after the other"
                ) from None
            number += 1
            place = f"{path}, object {number}"
            yield from _documents(row, f"{path}:{number}", place, column, bad_bytes)
            bad_bytes = 0


def _skip(text: str, at: int) -> int:
    found = _BETWEEN.match(text, at)
    return found.end() if found else at


def _documents(row: Any, name: str, place: str, column: str, bad_bytes: int) -> Iterator[Document]:
    if not isinstance(row, dict) or not isinstance(row.get(column), str):
        columns = shortened(repr(list(row))) if isinstance(row, dict) else type(row).__name__
        raise UserError(
            f"{place}: got {columns}; expected an object with a string {column!r} (choose another "
            "with `text_column`)"
        )
    for part, text in enumerate(cut_text(row[column]), 1):
        yield Document(name if part == 1 else f"{name}#{part}", text, bad_bytes)
        bad_bytes = 0


def looks_like_json(head: bytes, ended: bool, column: str) -> str | None:
    """Tell from a file's beginning whether it is "jsonl" or "json" that holds text; else None.

    Args:
        head: the first bytes.
        ended: whether that is the whole file.
        column: the member that holds the text.
    """
    head = head.removeprefix(codecs.BOM_UTF8).lstrip()
    member = re.search(rb'"%s"\s*:\s*"' % re.escape(json.dumps(column)[1:-1].encode()), head)
    if not re.match(rb'(\[\s*)?\{\s*"', head) or not member:
        return None
    if head.startswith(b"["):
        return "json"
    line, end, _ = head.partition(b"\n")
    if not end and not ended:
        return "jsonl"  # a line longer than this look
    try:
        return "jsonl" if isinstance(parse_json(line), dict) else None
    except NotJSONError:
        return "json"
