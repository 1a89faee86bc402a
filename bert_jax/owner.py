"""Which process made something on a disk, and whether that process has gone.

Process numbers are no names: in a container every command is process 1, on a host of perhaps the
same name. So a name holds the host, a digest of what numbers are counted by (this boot of this
machine, this container), the process, and when it began:

    vm-3f2a9c01-4711-815204
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_PROC = Path("/proc")  # Linux has it; elsewhere a process is known by its number alone


@dataclass(frozen=True)
class Owner:
    """A process, by what no other process has alike.

    Attributes:
        host: the name of its machine.
        counter: 8 hexadecimal digits, of the boot and the container (its PID namespace).
        pid: its number there.
        began: when, in the kernel's ticks since that boot; 0 where the system does not say.
    """

    host: str
    counter: str
    pid: int
    began: int

    @classmethod
    def here(cls) -> Self:
        """This process."""
        return cls(socket.gethostname(), _counter(), os.getpid(), _began(os.getpid()) or 0)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """That of which `text` is the name; None if it is no name."""
        found = re.fullmatch(r"(.+)-([0-9a-f]{8})-(\d+)-(\d+)", text)
        return None if found is None else cls(found[1], found[2], int(found[3]), int(found[4]))

    def __str__(self) -> str:
        return f"{self.host}-{self.counter}-{self.pid}-{self.began}"

    def has_gone(self) -> bool | None:
        """Whether it has ended; None of another machine, boot or container, which is not told."""
        if (self.host, self.counter) != (socket.gethostname(), _counter()):
            return None
        if not _is_there(self.pid):
            return True
        return _began(self.pid) not in (None, self.began)  # else another one has its number


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # another user's
    return True


def _began(pid: int) -> int | None:
    """When a process began; -1 of one that has ended and is not yet waited for; None: no saying."""
    with suppress(OSError):
        # See proc_pid_stat(5). The name before the state may hold spaces and brackets.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return -1 if fields[0] in "ZX" else int(fields[19])
    return None


def boot_of_machine() -> str:
    """Which machine this is, since which boot; the same in its containers. Empty: no saying."""
    with suppress(OSError):
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    return ""


def _counter() -> str:
    container = ""
    with suppress(OSError):
        container = os.readlink(_PROC / "self/ns/pid")
    return hashlib.sha256(f"{boot_of_machine()} {container}".encode()).hexdigest()[:8]
