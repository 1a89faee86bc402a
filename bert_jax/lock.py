"""One process at a time in a folder, by a lock that no kill leaves shut.

    runs/mine/.lock      {"owner": "vm-3f2a9c01-4711-815204", "boot": "0151d169-…", "since": …}
    corpora/.books.lock  beside a folder that is not there before it is whole

While its owner lives, the kernel keeps the file locked (flock), for containers of the machine, too;
so what is free is left over. Where this boot of this machine is not the owner's, the kernel may not
know: then the file's age tells, which its owner touches every few seconds.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

from bert_jax.arguments import is_url
from bert_jax.disk import PASSING
from bert_jax.errors import DiskError, UserError
from bert_jax.owner import Owner, boot_of_machine
from bert_jax.waiting import meanwhile

_Path = str | os.PathLike[str]
_BEAT, _SILENT = 5.0, 60.0  # seconds between two touches; without one, after which nobody is there


@contextmanager
def alone_in(folder: _Path, said: str) -> Iterator[None]:
    """Keep all other processes out of a folder until the block ends; make it where it is absent.

    Args:
        folder: taken away again where it was made here and is empty at the end.
        said: for messages, such as `workdir=runs/mine`.

    Raises:
        UserError: another is at work there, it cannot be written, or it is a URL.
    """
    if is_url(folder):
        raise UserError(
            f"got {said}, a bucket's, where this is not supported yet; expected a folder on this"
            " machine"
        )
    folder = Path(folder)
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        with _locked(folder / ".lock", said):
            yield
    finally:
        for each in made:
            with suppress(OSError):  # it is in use
                each.rmdir()


@contextmanager
def alone_making(folder: _Path, said: str) -> Iterator[None]:
    """The same for a folder that shall appear whole: the lock lies beside it."""
    folder = Path(folder).absolute()
    with _locked(folder.with_name(f".{folder.name}.lock"), said):
        yield


@dataclass(frozen=True)
class Note:
    """What stands in a lock: its owner, the boot of that one's machine, and since when."""

    owner: str
    boot: str
    since: float

    @classmethod
    def mine(cls) -> Note:
        """This process's."""
        return cls(str(Owner.here()), boot_of_machine(), time.time())

    @classmethod
    def parse(cls, content: bytes) -> Note | None:
        """That of a lock's content; None of one that is new."""
        with suppress(ValueError, TypeError):
            return cls(**json.loads(content))
        return None

    @classmethod
    def read(cls, lock: int) -> Note | None:
        """The same, of a file that is open."""
        return cls.parse(os.pread(lock, 10_000, 0))

    def write(self, lock: int) -> None:
        """Write it to a file that is open."""
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps(asdict(self)).encode(), 0)

    def __str__(self) -> str:
        owner = Owner.parse(self.owner)
        who = "a process" if owner is None else f"process {owner.pid} of host {owner.host}"
        return f"{who}, begun {max(0, time.time() - self.since) / 60:.0f} min ago"

    def has_gone(self, locked: bool) -> bool | None:
        """Whether its owner has; None where only the age of the lock can tell."""
        if locked and self.boot == boot_of_machine():  # the kernel would have kept it
            return True
        owner = Owner.parse(self.owner)
        return None if owner is None else owner.has_gone()


@contextmanager
def _locked(file: Path, said: str) -> Iterator[None]:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = _take(file, said)
    except OSError as error:
        raise DiskError(
            f"got {said}, which cannot be written ({error.strerror}); expected a directory, or a"
            " path where one can be made",
            passing=error.errno in PASSING,
        ) from error
    if lock is None:
        yield
        return
    try:
        with meanwhile(partial(_beat, lock)):
            yield
    finally:
        if _is_still(file, lock):
            with suppress(OSError):
                file.unlink()
        os.close(lock)


def _take(file: Path, said: str) -> int | None:
    """Lock a file; returns its descriptor, or None where this process has locked it before."""
    while True:
        lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        kept = False
        try:
            note, mine = Note.read(lock), Note.mine()
            if note is not None and note.owner == mine.owner:
                return None
            locked, note = _flock(lock), Note.read(lock)
            if locked is False:
                raise _in_use(said, note)
            if note is not None:
                gone = note.has_gone(bool(locked))
                if not (_is_silent(file, said, note) if gone is None else gone):
                    raise _in_use(said, note)
            if _is_still(file, lock):  # else its owner has just taken it away
                if note is not None:
                    print(f"{said} was left locked by {note}; taken over", file=sys.stderr)
                try:
                    mine.write(lock)
                except OSError:
                    file.unlink()
                    raise
                kept = True
                return lock
        finally:
            if not kept:
                os.close(lock)


def _in_use(said: str, note: Note | None) -> UserError:
    return UserError(
        f"got {said}, where {note or 'another process'} is running; expected one at a time: wait"
        " until it ends, or choose another place"
    )


def _flock(lock: int) -> bool | None:
    """Whether the kernel gave the lock to us; None where the file system has none to give."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None
    return True


def _is_still(file: Path, lock: int) -> bool:
    """Whether the file that is open is the one of that name."""
    try:
        return os.path.samestat(os.stat(file), os.fstat(lock))
    except OSError:
        return False


def _is_silent(file: Path, said: str, note: Note) -> bool:
    """Whether nobody touches a lock for so long; watches it until that is known."""
    try:
        with TemporaryFile(dir=file.parent) as new:  # the time as the file's own host has it
            last = file.stat().st_mtime
            left = _SILENT - (os.fstat(new.fileno()).st_mtime - last)
        if left > 0:
            print(
                f"{said} was locked by {note}; waiting {left:.0f} s to see whether it is still"
                " running",
                file=sys.stderr,
            )
        until = time.monotonic() + left
        while time.monotonic() < until:
            time.sleep(min(_BEAT, 1.0))
            if file.stat().st_mtime != last:
                return False
    except FileNotFoundError:
        pass  # it has ended
    return True


def _beat(lock: int, over: threading.Event) -> None:
    while not over.wait(_BEAT):
        with suppress(OSError):
            os.utime(lock)
