"""The lines of a `vocab.txt`, which the `vocab.txt.json` of one that was learned vouches for."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bert_jax.errors import UserError
from bert_jax.pretrained_paths import check_fetched


def read_vocab(vocab: Path) -> tuple[str, ...]:
    """Read the lines of a `vocab.txt`.

    Raises:
        UserError: no such file, not UTF-8 text, or not what was learned.
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
    rows = text.removesuffix("\n")
    pieces = tuple(line.removesuffix("\r") for line in rows.split("\n"))
    if _recorded_hash(vocab) not in (None, _hash(rows), _hash("\n".join(pieces))):
        raise UserError(
            f"got vocabulary {str(vocab)!r}, which was changed or is damaged: {vocab.name}.json"
            " beside it was written for other pieces; expected a copy of what was learned (a corpus"
            f" made with it has one), or no {vocab.name}.json"
        )
    return pieces


def _hash(rows: str) -> str:
    return hashlib.sha256(rows.encode()).hexdigest()


def _recorded_hash(vocab: Path) -> str | None:
    """What the record beside a vocabulary says; None where there is none that can be read."""
    try:
        record = json.loads(Path(f"{vocab}.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return record.get("vocab_hash") if isinstance(record, dict) else None


def without_blanks(pieces: Sequence[str]) -> tuple[str, ...]:
    """Take away blanks behind pieces, which no word has: an editor left them there."""
    bare = [piece.rstrip(" \t") for piece in pieces]
    seen = Counter(bare)
    return tuple(b if b and seen[b] == 1 else p for p, b in zip(pieces, bare, strict=True))
