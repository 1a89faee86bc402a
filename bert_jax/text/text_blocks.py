"""Text as blocks of UTF-8 bytes cut at white space: any size of file or line in bounded memory.

    "the cat sat\\non the"  +  " mat"      blocks: b"the cat sat\\non "  b"the mat"

A block never cuts a word, nor a character, in two: a byte of ASCII white space is never part of
another character in UTF-8, however broken the text around it is.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bert_jax.errors import UserError


@dataclass(frozen=True)
class Block:
    """Part of a text.

    Attributes:
        content: valid UTF-8.
        source_bytes: how many bytes of the source it stands for.
        invalid: invalid byte sequences that were left out (decoding would replace each by U+FFFD,
            which BERT's tokenizer deletes).
    """

    content: bytes
    source_bytes: int
    invalid: int


def blocks_of_files(paths: Iterable[str | Path], size: int = 1 << 21) -> Iterator[Block]:
    """Yield the files' text in blocks of about `size` bytes (more where one word is longer).

    Raises:
        UserError: a file cannot be read, or holds a NUL byte and so is not text.
    """
    for path in paths:
        try:
            yield from _blocks_of_file(Path(path), size)
        except OSError as error:
            raise UserError(
                f"cannot read {str(path)!r}: {error.strerror}; expected a readable text file"
            ) from None


def blocks_of_texts(texts: Iterable[str], size: int = 1 << 21) -> Iterator[Block]:
    """Yield the texts, with white space between them, in blocks of `size` characters or more."""
    waiting: list[str] = []
    length = 0
    for text in texts:
        waiting.append(text)
        length += len(text) + 1
        if length >= size:
            yield _block_of_texts(waiting)
            waiting, length = [], 0
    if waiting:
        yield _block_of_texts(waiting)


def _block_of_texts(texts: list[str]) -> Block:
    block = _block("\n".join(texts).encode("utf-8", "surrogatepass"))
    return replace(block, source_bytes=block.source_bytes - (len(texts) - 1))


def _blocks_of_file(path: Path, size: int) -> Iterator[Block]:
    with path.open("rb") as file:
        waiting = [file.read(size)]
        while data := file.read(size):
            cut = 1 + max(data.rfind(space) for space in (b" ", b"\t", b"\n", b"\r"))
            if cut > 0:
                waiting.append(data[:cut])
                yield _file_block(b"".join(waiting), path)
                waiting = [data[cut:]]
            else:
                waiting.append(data)
        if any(waiting):
            yield _file_block(b"".join(waiting), path)


def _file_block(data: bytes, path: Path) -> Block:
    if b"\0" in data:
        raise UserError(
            f"{str(path)!r} holds NUL bytes: a binary file, or text in UTF-16; "
            "expected UTF-8 text; leave the file out or convert it"
        )
    return _block(data)


def _block(data: bytes) -> Block:
    try:
        data.decode()
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
        invalid = text.count("\ufffd") - data.count("\ufffd".encode())
        return Block(text.replace("\ufffd", "").encode(), len(data), invalid)
    return Block(data, len(data), 0)
