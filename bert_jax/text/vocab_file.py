"""The lines of a `vocab.txt`."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bert_jax.errors import UserError
from bert_jax.pretrained_paths import check_fetched


def read_vocab(vocab: Path) -> tuple[str, ...]:
    """Read the lines of a `vocab.txt`.

    Raises:
        UserError: no such file, or not UTF-8 text.
    """
    check_fetched(vocab)
    try:
        text = vocab.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(
            f"got vocabulary {str(vocab)!r}, which cannot be read ({error.strerror}); "
            "expected a vocab.txt with one piece a line"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"got vocabulary {str(vocab)!r} with bytes that are no UTF-8 "
            f"(at byte {error.start}); expected a text file with one piece a line"
        ) from error
    # Only \n ends a line: a piece may be a character that `splitlines` takes for a line end.
    return tuple(line.removesuffix("\r") for line in text.removesuffix("\n").split("\n"))


def without_blanks(pieces: Sequence[str]) -> tuple[str, ...]:
    """Take away blanks behind pieces, which no word has: an editor left them there."""
    bare = [piece.rstrip(" \t") for piece in pieces]
    seen = Counter(bare)
    return tuple(b if b and seen[b] == 1 else p for p, b in zip(pieces, bare, strict=True))
