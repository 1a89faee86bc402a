r"""The token table in word2vec's text format, which gensim and many others open.

    30522 384                    rows, width
    [PAD] 0.0123 -0.0456 …       piece, a blank, its row
    ##ing …

    gensim.models.KeyedVectors.load_word2vec_format("tables.vec")["##ing"]

Numbers have nine significant digits, from which float32 comes back exactly. Segment and position
tables have no words and stay out; so does how text is normalised.

The format has no escapes: a blank ends the word, a line end the row. Some readers split at any
white space, some drop control characters. So each such character of a piece is written as
`\u{hex}`, as in `new\u{20}york`, and an empty piece as `\u{}`. Other pieces are written as they
are, a backslash too, except one that would start such an escape (`\u{5c}u{`). No two pieces
are written alike, and `read_word2vec` gives them all back.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bert_jax.errors import UserError
from bert_jax.tables.embedding_tables import EmbeddingTables
from bert_jax.whole_file import whole_file

_ESCAPE = re.compile(r"\\u\{([0-9a-f]*)\}")
_ESCAPED_CATEGORIES = ("Cc", "Cs", "Zs", "Zl", "Zp")  # control, surrogate, separators


@dataclass(frozen=True, eq=False)
class Word2vec:
    """What a word2vec text file holds."""

    pieces: tuple[str, ...]  # V
    table: np.ndarray  # [V, D] float32


def save_word2vec(tables: EmbeddingTables, path: str | Path) -> None:
    """Write the token table, whole or not at all; rows without a piece are left out.

    Raises:
        UserError: the tables have no vocabulary, or the file cannot be written.
    """
    if tables.tokenizer is None:
        raise UserError(
            "got embedding tables without a vocabulary; expected one, because word2vec's format"
            " names every row by its piece"
        )
    pieces = tables.tokenizer.pieces
    numbers = " ".join(["%.9g"] * tables.width)
    with (
        whole_file(path) as partial,
        partial.open("w", encoding="utf-8", newline="\n") as file,
    ):
        file.write(f"{len(pieces)} {tables.width}\n")
        for piece, row in zip(pieces, tables.token, strict=False):
            file.write(f"{escape(piece)} {numbers % tuple(row.tolist())}\n")


def read_word2vec(path: str | Path) -> Word2vec:
    """Read a word2vec text file.

    Raises:
        UserError: no such file, or not in this format; the line is named.
    """
    pieces: list[str] = []
    number = 1
    try:
        with Path(path).open(encoding="utf-8", newline="\n") as file:
            size, width = map(int, file.readline().split())
            table = np.empty((size, width), np.float32)
            for number, line in enumerate(file, start=2):
                piece, *row = line.rstrip("\r\n ").split(" ")
                table[number - 2] = row
                pieces.append(unescape(piece))
    except OSError as error:
        raise UserError(
            f"got {str(path)!r}, which cannot be read ({error.strerror}); expected a word2vec text"
            " file"
        ) from error
    except (ValueError, IndexError) as error:
        raise UserError(
            f"got {str(path)!r}, whose line {number} is not in word2vec's text format ({error});"
            " expected 'rows width', then a word and its row on each line"
        ) from error
    if len(pieces) != size:
        raise UserError(
            f"got {len(pieces)} rows in {str(path)!r}; expected the {size} it announces"
        )
    return Word2vec(tuple(pieces), table)


def escape(piece: str) -> str:
    r"""Write a piece without white space or control characters: `a b` → `a\u{20}b`."""
    if not piece:
        return r"\u{}"
    piece = piece.replace(r"\u{", r"\u{5c}u{")
    return "".join(
        rf"\u{{{ord(c):x}}}" if unicodedata.category(c) in _ESCAPED_CATEGORIES else c for c in piece
    )


def unescape(word: str) -> str:
    """Give back what `escape` was given."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else "", word)
