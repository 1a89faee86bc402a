"""One process at a time in a folder of a bucket.

    gs://bucket/runs/mine/.lock/vm-3f2a9c01-4711-815204      {"owner": …, "boot": …, "since": …}

Everybody who asks puts an object of its own there and then looks who else did: so none of several
that ask at once overlooks another. Its owner writes it anew every few seconds; whose object has
not changed for long has gone, and is taken over from.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict

from bert_jax import lock
from bert_jax.arguments import is_url
from bert_jax.bucket import Prefix
from bert_jax.errors import UserError
from bert_jax.lock import Note
from bert_jax.owner import Owner
from bert_jax.waiting import meanwhile

_BEAT = 15.0  # seconds between two writings
_SILENT = 60.0  # without one, after which nobody is there


class BucketLock:
    """A lock that is held. Whoever was away from the bucket for too long has lost it."""

    def __init__(self, objects: Prefix, said: str):
        self._objects, self._said = objects, said
        self._mine = str(Owner.here())
        self._lost: str | None = None

    def check(self) -> None:
        """Make sure that nobody has taken over.

        Raises:
            UserError: somebody has.
        """
        if self._lost is not None:
            raise UserError(
                f"got {self._said}, which {self._lost} took over while the bucket did not answer"
                " here; expected one process at a time: let that one finish"
            )

    def take(self) -> None:
        """Ask for it, and wait until others are known to have gone.

        Raises:
            UserError: somebody is at work there.
        """
        self._write()
        try:
            for owner in self._others():
                self._outlive(owner)
        except BaseException:
            self.give_back()
            raise

    def keep(self, over: threading.Event) -> None:
        """Write it anew from time to time until `over`."""
        while not over.wait(_BEAT):
            with suppress(UserError):  # who sends something says so
                there = self._objects.objects()
                if self._mine not in there and there:
                    self._lost = f"process {next(iter(there))}"
                    return
                self._write()

    def give_back(self) -> None:
        """Take the object away."""
        with suppress(UserError):
            self._objects.delete(self._mine)

    def _write(self) -> None:
        self._objects.write(self._mine, json.dumps(asdict(Note.mine())).encode())

    def _others(self) -> list[str]:
        return [name for name in self._objects.objects() if name != self._mine]

    def _outlive(self, owner: str) -> None:
        """Return when another owner has gone, and its object with it."""
        note = Note.parse(self._objects.read(owner) or b"")
        gone = None if note is None else note.has_gone(locked=False)
        if gone is False or (gone is None and not self._is_silent(owner, note)):
            raise UserError(
                f"got {self._said}, where {note or 'another process'} is running; expected one at a"
                " time: wait until it ends, or choose another place"
            )
        print(f"{self._said} was left locked by {note or owner}; taken over", file=sys.stderr)
        self._objects.delete(owner)

    def _is_silent(self, owner: str, note: Note | None) -> bool:
        """Whether an object is not written anew for so long."""
        there = self._objects.objects()
        if owner not in there:
            return True
        # Both times are the server's.
        before = there[owner].changed
        left = _SILENT - (there[self._mine].changed - before)
        if left > 0:
            print(
                f"{self._said} was locked by {note or owner}; waiting {left:.0f} s to see whether"
                " it is still running",
                file=sys.stderr,
            )
        until = time.monotonic() + left
        while time.monotonic() < until:
            time.sleep(min(2.0, max(0.0, until - time.monotonic())))
            there = self._objects.objects()
            if owner not in there:
                return True
            if there[owner].changed != before:
                return False
        return True


@contextmanager
def alone_in_bucket(folder: Prefix, said: str) -> Iterator[BucketLock]:
    """Keep all other processes out of a folder of a bucket until the block ends.

    Args:
        folder: of a bucket.
        said: for messages, such as `workdir=gs://bucket/runs/mine`.

    Raises:
        UserError: another is at work there, or it cannot be written.
        PlaceAwayError: the bucket does not answer.
    """
    lock = BucketLock(folder / ".lock", said)
    lock.take()
    try:
        with meanwhile(lock.keep):  # which has ended when the object is taken away
            yield lock
    finally:
        lock.give_back()


@contextmanager
def alone_making(folder: str | os.PathLike[str], said: str) -> Iterator[None]:
    """`lock.alone_making`, or the same of a folder in a bucket."""
    if not is_url(folder):
        with lock.alone_making(folder, said):
            yield
        return
    with alone_in_bucket(Prefix(folder), said):
        yield
