"""What a disk refuses, full, read-only or gone, said in one line; and what is surely on it."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bert_jax.errors import DiskError

_Path = str | os.PathLike[str]
_FULL = (errno.ENOSPC, errno.EDQUOT)
# A disk that is broken, or behind a network: it may come back, or be there on another machine.
PASSING = (errno.EIO, errno.ESTALE, errno.ENOTCONN)
REFUSALS = (*_FULL, errno.EROFS, *PASSING)


@contextmanager
def on_disk(path: _Path) -> Iterator[None]:
    """Say in one line where it is the disk that keeps `path` from being written.

    Raises:
        DiskError: the disk is full, read-only or broken, or the folder of `path` has gone.
    """
    try:
        yield
    except Exception as error:
        refused = disk_error(path, error)
        if refused is None:
            raise
        raise refused from error


def disk_error(
    path: _Path,
    error: BaseException,
    *,
    needed: int = 0,
    gone: bool = False,
    way_out: str = "",
) -> DiskError | None:
    """What to say where the disk, and no bug, is the reason for an error; else None.

    Args:
        path: what was being written.
        error: what came of it, from Python or from a library that writes by itself.
        needed: how many bytes it takes; 0 where nobody knows.
        gone: whether it is known that something of it was taken away meanwhile.
        way_out: goes on where the sentence ends, such as ", and the same command again".
    """
    path = Path(path)
    number, folder = _number(error), path.parent
    passing = number in PASSING
    if number in _FULL:
        free = shutil.disk_usage(_existing(folder)).free
        reason = f"{os.strerror(number)}: {_size(free)} are free"
        reason += f", about {_size(needed - free)} more are needed" if needed > free else ""
        expected = "room on the disk"
    elif number in REFUSALS:
        reason, expected = os.strerror(number), "a disk that can be written"
    elif gone or not folder.is_dir():
        reason, expected = f"what was in {folder} has gone", "a folder that nobody takes away"
        passing = True
    else:
        return None
    return DiskError(
        f"got {path}, which cannot be written ({reason}); expected {expected}{way_out}",
        passing=passing,
    )


def room_of(folder: _Path) -> int:
    """How many bytes of the disk a folder takes."""
    return sum(each.lstat().st_blocks * 512 for each in (Path(folder), *Path(folder).rglob("*")))


def sync(path: _Path, *, deep: bool = True) -> None:
    """Return when a file, or a folder and all that is in it, is on the disk.

    Args:
        path: a file or a folder.
        deep: whether what is in a folder counts, and not only which names it has.
    """
    path = Path(path)
    for each in (*(path.rglob("*") if deep else ()), path):
        if each.is_symlink() or not (each.is_file() or each.is_dir()):
            continue
        opened = os.open(each, os.O_RDONLY)
        try:
            os.fsync(opened)
        except OSError as error:
            if error.errno != errno.EINVAL:  # a file system that does not sync folders
                raise
        finally:
            os.close(opened)


def _number(error: BaseException | None) -> int:
    """The system's number of an error or of what it came from; 0 where there is none."""
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        for number in REFUSALS:
            if os.strerror(number) in str(error):  # TensorStore's, Riegeli's
                return number
        error = error.__cause__ or error.__context__
    return 0


def _existing(folder: Path) -> Path:
    return next(each for each in (folder, *folder.absolute().parents) if each.is_dir())


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.0f} kB"
