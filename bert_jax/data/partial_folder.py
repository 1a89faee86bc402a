"""Folders that are filled by one process and gone, or in their place, when it is."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bert_jax.errors import UserError


@contextmanager
def partial_folder(beside: Path) -> Iterator[Path]:
    """Yield a new empty folder `.NAME.partial-PID` beside a path; remove it afterwards.

    What a process that was killed left there is removed first. Rename the folder within the block
    to keep it.

    Raises:
        UserError: it cannot be made.
    """
    prefix = f".{beside.name}.partial-"
    try:
        beside.parent.mkdir(parents=True, exist_ok=True)
        for stale in beside.parent.glob(f"{prefix}*"):
            if not is_running(stale.name.removeprefix(prefix)):  # killed, could not tidy up
                shutil.rmtree(stale, ignore_errors=True)
        partial = beside.with_name(f"{prefix}{os.getpid()}")
        partial.mkdir()
    except OSError as error:
        raise UserError(
            f"got {str(beside)!r}, which cannot be made ({error.strerror}: {error.filename}); "
            "expected a place where folders can be written"
        ) from error
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def is_running(pid: str) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return True
