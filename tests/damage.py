"""Ways in which a disk or a copy damages a file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    """One bit."""
    damaged = bytearray(content)
    damaged[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


DAMAGES: dict[str, Callable[[bytes, np.random.Generator], bytes] | None] = {
    "flipped": flipped,
    "cut": lambda content, rng: content[: len(content) // 2],
    "emptied": lambda content, rng: b"",
    "garbage": lambda content, rng: rng.bytes(len(content)),
    "longer": lambda content, rng: content + b"\0",
    "removed": None,
}


def damage(file: Path, how: str, rng: np.random.Generator) -> None:
    """Damage a file in one of these ways."""
    change = DAMAGES[how]
    if change is None:
        file.unlink()
    else:
        file.write_bytes(change(file.read_bytes(), rng))
