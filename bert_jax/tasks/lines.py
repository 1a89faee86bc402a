"""The lines of a text file, plain or gzipped, with their numbers: every reader begins here."""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path

from bert_jax.errors import UserError


def numbered_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    r"""Yield (number from 1, line without its end); only \n and \r\n end a line.

    Raises:
        UserError: no such file, broken gzip, or a line that is no UTF-8, with its number.
    """
    for number, line in enumerate(read_bytes(path).split(b"\n"), 1):
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path}, line {number}: got bytes that are no UTF-8 (at byte {error.start} of the"
                " line); expected UTF-8 text"
            ) from error


def read_bytes(path: str | Path) -> bytes:
    """Return the content of a file, unzipped where it is gzip, without the last line end.

    Raises:
        UserError: no such file, or broken gzip.
    """
    try:
        content = Path(path).read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"got {path}, which cannot be read ({reason}); expected a file") from error
    return content.removesuffix(b"\n")


def content_hash(path: str | Path) -> str:
    """SHA-256 of a file's (unzipped) content, in hexadecimal."""
    return hashlib.sha256(read_bytes(path)).hexdigest()
