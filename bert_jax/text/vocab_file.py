"""The lines of a `vocab.txt`, which the `vocab.txt.json` of one that was learned vouches for."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
            "expected a vocab.txt with one piece per line"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"got vocabulary {str(vocab)!r}, which is not valid UTF-8 "
            f"(at byte {error.start}); expected a text file with one piece per line"
        ) from error
    # Only \n ends a line: a piece may be a character that `splitlines` takes for a line end.
    rows = text.removesuffix("\n")
    pieces = tuple(line.removesuffix("\r") for line in rows.split("\n"))
    if _recorded_hash(vocab) not in (None, _hash(rows), _hash("\n".join(pieces))):
        raise UserError(
            f"got vocabulary {str(vocab)!r}, which was changed or is damaged: {vocab.name}.json"
            " next to it was written for other pieces; expected a copy of what was learned (a"
            " corpus"
            f" made with it has one), or no {vocab.name}.json"
        )
    return pieces


def _hash(rows: str) -> str:
    return hashlib.sha256(rows.encode()).hexdigest()


def recorded_treatment(vocab: str | Path) -> dict[str, Any]:
    """How text was treated that a vocabulary was learned from: `lowercase` and the like, by name.

    Empty where no record of it lies beside.
    """
    names = ("lowercase", "strip_accents", "split_chinese", "splitting")
    settings = _record(vocab).get("settings")
    return {n: settings[n] for n in names if n in settings} if isinstance(settings, dict) else {}


def _recorded_hash(vocab: Path) -> str | None:
    return _record(vocab).get("vocab_hash")


def _record(vocab: str | Path) -> dict[str, Any]:
    """The record beside a vocabulary; empty where there is none that can be read."""
    try:
        record = json.loads(Path(f"{vocab}.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def without_blanks(pieces: Sequence[str]) -> tuple[str, ...]:
    """Take away blanks behind pieces, which no word has: an editor left them there."""
    bare = [piece.rstrip(" \t") for piece in pieces]
    seen = Counter(bare)
    return tuple(b if b and seen[b] == 1 else p for p, b in zip(pieces, bare, strict=True))
