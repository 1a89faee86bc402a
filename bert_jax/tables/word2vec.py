r"""The token table in word2vec's text format, which gensim and many others open.

    30522 384                    rows, width
    [PAD] 0.0123 -0.0456 …       piece, a blank, its row
    ##ing …

    gensim.models.KeyedVectors.load_word2vec_format("tables.vec")["##ing"]

Numbers have nine significant digits, from which float32 comes back exactly. Segment and position
tables have no words and stay out; so does how text is normalised. GloVe's files, which have no
first line of sizes, are read too.

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
from bert_jax.mirror import at_hand
from bert_jax.pretrained_paths import check_fetched
from bert_jax.tables.embedding_tables import EmbeddingTables
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.whole_file import whole_file

_ESCAPE = re.compile(r"\\u\{([0-9a-f]*)\}")
_SIZES = re.compile(r"\s*([0-9]+)\s+([0-9]+)\s*")
_MOST_DIGITS = 9
_ESCAPED_CATEGORIES = ("Cc", "Cs", "Zs", "Zl", "Zp")  # control, surrogate, separators


@dataclass(frozen=True, eq=False)
class Word2vec:
    """What a word2vec text file holds."""

    pieces: tuple[str, ...]  # V
    table: np.ndarray  # [V, D] float32

    def rows_of(self, tokenizer: Tokenizer) -> dict[int, int]:
        """For each piece of a vocabulary that stands in the file: its id, and its first row."""
        rows = dict(zip(reversed(self.pieces), reversed(range(len(self.pieces))), strict=True))
        return {i: rows[piece] for i, piece in enumerate(tokenizer.pieces) if piece in rows}


def put_words(table: np.ndarray, tokenizer: Tokenizer | None, words: Word2vec) -> np.ndarray:
    """Return a token table in which the pieces that stand in a file have the rows of the file.

    Args:
        table: [V, D].
        tokenizer: whose pieces its rows belong to.
        words: from `read_word2vec`.

    Raises:
        UserError: there is no vocabulary, another width, or no piece in common.
    """
    if tokenizer is None:
        raise UserError("got a token table without a vocabulary; expected one, to know its rows by")
    if words.table.shape[1] != table.shape[1]:
        raise UserError(
            f"got word vectors of width {words.table.shape[1]} for a token table of width"
            f" {table.shape[1]}; expected the same"
        )
    rows = words.rows_of(tokenizer)
    if not rows:
        raise UserError(
            f"got {len(words.pieces)} words ({' '.join(words.pieces[:4])} …), none of which is a"
            " piece of the vocabulary; expected the words of an uncased vocabulary in lower case,"
            " and pieces inside words with ## before them"
        )
    new = np.array(table, np.float32)
    new[list(rows)] = words.table[list(rows.values())]
    return new


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
    """Read a file of word2vec's text format, or of GloVe's, which begins with the first word.

    Raises:
        UserError: no such file, not in this format, or a number that is not finite; the line is
            named.
    """
    pieces: list[str] = []
    rows: list[np.ndarray] = []
    size: int | None = None
    width: int | None = None
    number = 1
    here = at_hand(path)
    check_fetched(here)
    try:
        with here.open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                if number == 1 and (sizes := _SIZES.fullmatch(line)) is not None:
                    if max(map(len, sizes.groups())) > _MOST_DIGITS:
                        raise ValueError(f"sizes of more than {_MOST_DIGITS} digits")
                    size, width = int(sizes[1]), int(sizes[2])
                    continue
                if width is None:
                    width = line.rstrip("\r\n ").count(" ")
                piece, *row = line.rstrip("\r\n ").rsplit(" ", width)
                rows.append(np.array(row, np.float32))
                if len(row) != width or not width or not np.isfinite(rows[-1]).all():
                    raise ValueError(f"{len(row)} numbers, expected {width} finite ones")
                if size is not None and len(rows) > size:
                    raise ValueError(f"more rows than the {size} it announces")
                pieces.append(unescape(piece))
        if width is None:
            raise ValueError("it is empty")
    except OSError as error:
        raise UserError(
            f"got {str(path)!r}, which cannot be read ({error.strerror}); expected a word2vec text"
            " file"
        ) from error
    except ValueError as error:
        raise UserError(
            f"got {str(path)!r}, whose line {number} is not in word2vec's text format ({error});"
            " expected a word and its row on each line, the same width on all, and perhaps"
            " 'rows width' before them"
        ) from error
    if size not in (None, len(pieces)):
        raise UserError(
            f"got {len(pieces)} rows in {str(path)!r}; expected the {size} it announces"
        )
    return Word2vec(tuple(pieces), np.stack(rows) if rows else np.empty((0, width), np.float32))


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
