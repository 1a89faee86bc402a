"""Text files as documents, packed or not: every layout is read in bounded memory."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Literal, cast

from bert_jax.data.byte_streams import GLANCE, is_plain, open_bytes
from bert_jax.data.document import LONGEST_DOCUMENT, Document, decode
from bert_jax.data.found_files import without_packing
from bert_jax.data.json_files import looks_like_json, read_json_lines, read_json_objects
from bert_jax.data.wiki_files import MARK as WIKI_MARK
from bert_jax.data.wiki_files import read_wiki

Format = Literal["auto", "text", "blocks", "sentences", "jsonl", "json", "wiki", "table"]
FORMATS: tuple[Format, ...] = (
    *("auto", "text", "blocks", "sentences", "jsonl", "json", "wiki", "table"),
)

# Parquet, an Arrow file, and the stream of Arrow batches that Hugging Face's `datasets` saves.
_TABLE_MARKS = (b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")
_LAYOUTS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".docs.txt": "blocks",
    ".sents.txt": "sentences",
    ".parquet": "table",
    ".arrow": "table",
}


def format_of(path: Path, text_column: str | None = None) -> Format:
    """Return the format that `auto` takes a file for.

    The name says it (`*.jsonl`, `*.docs.txt` is blocks, `*.sents.txt` sentences, `*.parquet` a
    table; what says that the file is packed, `.gz`, changes nothing), or else the beginning of
    the file: `<doc id=` is what WikiExtractor writes, objects with a member `text_column` (else
    "text") are JSON. Anything else is text.

    Raises:
        UserError: the file cannot be read, or is binary.
    """
    name = without_packing(path.name).lower()
    for ending, layout in _LAYOUTS.items():
        if name.endswith(ending):
            return layout
    with path.open("rb") as file:
        if file.read(6).startswith(_TABLE_MARKS):
            return "table"
    with open_bytes(path) as (stream, _):
        head = stream.peek(GLANCE)[:GLANCE]
        if head.lstrip().startswith(WIKI_MARK):
            return "wiki"
        layout_of_json = looks_like_json(head, len(head) < GLANCE, text_column or "text")
        if layout_of_json is None and name.endswith(".json"):
            layout_of_json = "jsonl"  # whose error says what is wrong
        return cast(Format, layout_of_json or "text")


def is_plain_text(path: Path, text_format: Format, text_column: str | None) -> bool:
    """Whether all of the file's bytes are text, as they are: not packed, no JSON, no tags."""
    if not is_plain(path):
        return False
    chosen = format_of(path, text_column) if text_format == "auto" else text_format
    return chosen in ("text", "blocks", "sentences")


def read_documents(path: Path, text_format: Format, text_column: str | None) -> Iterator[Document]:
    """Read the documents of one file, in order.

        format      a document is         a line is            for example
        text        the file              part of a paragraph  a novel, a web page
        blocks      lines to a blank one  a paragraph          a dictionary, Wikipedia as lines
        sentences   lines to a blank one  a sentence           the input of the original BERT
        jsonl       a line                {"text": "…"}        most corpora of today, C4
        json        an object             -                    [{"text": "…"}, …]
        wiki        <doc …> to </doc>     part of a paragraph  WikiExtractor's AA/wiki_00
        table       a row                 -                    Parquet, Arrow, saved `datasets`

    Args:
        path: the file; how it is packed and encoded is seen from its first bytes.
        text_format: one of the above, or "auto" (see `format_of`).
        text_column: for JSON and tables, which member or column holds the text; None is "text",
            or the only column of text.

    Raises:
        UserError: the file is binary, broken, or not what it should be.
    """
    chosen = format_of(path, text_column) if text_format == "auto" else text_format
    if chosen == "table":
        # Here and not above, since importing pyarrow takes a while.
        from bert_jax.data.table_files import read_table

        yield from read_table(path, text_column)
        return
    with open_bytes(path) as (stream, file):
        if chosen == "text":
            documents = _read_text(stream, path)
        elif chosen == "jsonl":
            documents = read_json_lines(stream, path, text_column or "text")
        elif chosen == "json":
            documents = read_json_objects(stream, path, text_column or "text")
        elif chosen == "wiki":
            documents = read_wiki(stream, path)
        else:
            documents = _read_blocks(stream, path, chosen == "sentences")
        before = 0
        for document in documents:
            position = file.tell()  # of the packed file, where it is one
            yield replace(document, source_bytes=position - before)
            before = position


def _read_text(stream: BinaryIO, path: Path) -> Iterator[Document]:
    for number, data in enumerate(_cut(stream, whole_lines=False), 1):
        text, bad_bytes = decode(data)
        yield Document(f"{path}#{number}" if number > 1 else str(path), text, bad_bytes)


def _read_blocks(stream: BinaryIO, path: Path, one_sentence_a_line: bool) -> Iterator[Document]:
    number = size = 0
    lines: list[bytes] = []

    def finish() -> Document:
        texts = [decode(line.strip()) for line in lines]
        paragraphs = tuple(text for text, _ in texts if text)
        text = paragraphs if one_sentence_a_line else "\n\n".join(paragraphs)
        return Document(f"{path}:{number}", text, sum(bad for _, bad in texts))

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
