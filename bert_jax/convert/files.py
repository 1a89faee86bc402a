"""A directory written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bert_jax.errors import UserError


@contextmanager
def new_directory(target: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """A directory to write into, which becomes `target` when all went well, and else vanishes.

    Args:
        target: absent or empty, unless `overwrite`.
        overwrite: replace what is there.

    Raises:
        UserError: `target` holds something, is a file, or cannot be made.
    """
    target = Path(target)
    _check(target, overwrite)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
    except OSError as error:
        raise UserError(
            f"got {target}, which cannot be written ({error.strerror}); expected a directory, or "
            "a place to make one"
        ) from None
    try:
        yield partial
        if target.exists():
            old = target.with_name(f".{target.name}.{os.getpid()}.old")
            target.rename(old)
            partial.rename(target)
            shutil.rmtree(old)
        else:
            partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check(target: Path, overwrite: bool) -> None:
    if target.is_file():
        raise UserError(f"got {target}, which is a file; expected a directory to write")
    if target.is_dir() and not overwrite and any(target.iterdir()):
        raise UserError(
            f"got {target}, which is not empty; expected a directory that is absent or empty"
        )
