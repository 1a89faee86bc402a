"""Names that no file can have, and what has a name and is not a file."""

from __future__ import annotations

import errno
import os
import stat

_LONGEST = 255  # bytes of a name, on every usual file system
_ENDLESS = ("/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")

NO_SUCH_NAME = (errno.ENAMETOOLONG, errno.ELOOP)
"""Numbers of the system's errors that come of a name alone."""


def why_no_name(path: str | os.PathLike[str]) -> str | None:
    """Why no file can be called so, in words; None where one can.

    >>> why_no_name("runs/a"), why_no_name("x" * 256)
    (None, 'a name of 256 bytes, more than the 255 that a file may have')
    """
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError:
        return "characters that no name can hold"
    if b"\0" in name:
        return "a character of value 0"
    longest = max(map(len, name.split(b"/")))
    if longest > _LONGEST:
        return f"a name of {longest} bytes, more than the {_LONGEST} that a file may have"
    return None


def is_endless(path: str) -> bool:
    """Whether what a path names is a device that can be read for ever, or a whole disk."""
    found = _found(path)
    if found is None:
        return False
    same = {each.st_rdev for each in map(_found, _ENDLESS) if each is not None}
    endless = stat.S_ISCHR(found.st_mode) and found.st_rdev in same
    return endless or stat.S_ISBLK(found.st_mode)


def is_named_pipe(path: str) -> bool:
    """Whether a path is a pipe with a name of its own, and not one that a shell has opened."""
    found = _found(path)
    opened = os.path.realpath(path).startswith(("/dev/fd/", "/proc/"))
    return found is not None and stat.S_ISFIFO(found.st_mode) and not opened


def _found(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None
