"""The end of a process of several when another has gone: a line of ours, and status 1.

jax finds out in one of two ways. A sum over the processes fails, which is an exception; or the
other is missed at its heartbeat, and jax ends this process by abort(), from a thread of C++ where
no exception arrives.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal

import jax

# What the libraries that carry sums between processes say of an end of theirs.
_SIGNS = ("Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "heartbeat", "unhealthy")


def lost_message(error: Exception) -> str | None:
    """The line to say of an error that another process has caused by going; None: none has."""
    said = str(error)
    if not isinstance(error, jax.errors.JaxRuntimeError) or not any(s in said for s in _SIGNS):
        return None
    return _message(said.splitlines()[0])


def say_when_aborted() -> None:
    """Have the line said, and the status be 1, where jax ends this process from now on."""
    libc = ctypes.CDLL(None)
    libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    libc.signal(signal.SIGABRT, ctypes.cast(_say_and_leave, ctypes.c_void_p))
    # Where Python ends, no thread of C++ comes to run the handler any more: it would wait for ever.
    atexit.register(libc.signal, signal.SIGABRT, None)


def _message(cause: str) -> str:
    return (
        f"got no more answer from another process of this run ({cause}); expected its last line to"
        " say why, and the same command to go on from the newest checkpoint"
    )


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _say_and_leave(_: int) -> None:
    os.write(2, f"{_message('jax ended this one, as it says above')}\n".encode())
    os._exit(1)
