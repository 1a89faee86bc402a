"""What kind of piece each row of the token table stands for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bert_jax.text.tokenizer import SPECIAL_PIECES

PARTS = ("word", "continuation", "number", "single character", "other", "special", "unused")


def vocabulary_parts(pieces: Sequence[str]) -> np.ndarray:
    """Return [V] numbers into `PARTS`.

    Examples: "cat" is a word, "##s" a continuation, "1984" a number, "é" and "!" are single
    characters, "[CLS]" is special, "[unused7]" unused, "c++" other.
    """
    return np.array([PARTS.index(_part(piece)) for piece in pieces], np.int64)


def _part(piece: str) -> str:
    if piece in SPECIAL_PIECES:
        return "special"
    if piece.startswith("[unused") and piece.endswith("]"):
        return "unused"
    if piece.startswith("##") and len(piece) > 2:
        return "continuation"
    if len(piece) == 1:
        return "single character"
    if piece.isdecimal():
        return "number"
    return "word" if piece.isalpha() else "other"
