"""Memory of a step on CPU: keep what XLA frees, instead of asking the kernel for it every step."""

from __future__ import annotations

import ctypes
import sys

# By glibc's name in the environment: the parameter of <malloc.h>, and its value.
_SETTINGS = {
    "MALLOC_MMAP_MAX_": (-4, 0),
    "MALLOC_TRIM_THRESHOLD_": (-1, -1),
    "MALLOC_TOP_PAD_": (-2, 1 << 28),
    "MALLOC_ARENA_MAX": (-8, 1),  # a thread's own gives back what is large, whatever is set above
}

FREED_MEMORY_KEPT = {name: str(value) for name, (_, value) in _SETTINGS.items()}
"""What `keep_freed_memory` sets, as the environment of a process that is to be started."""


def keep_freed_memory() -> bool:
    """Have malloc keep freed memory for later, for the rest of this process.

    XLA's CPU backend allocates its temporary buffers anew at every step. glibc takes large ones
    from the kernel and hands them back, so each step pays for hundreds of megabytes of page
    faults. A step of `tiny` at 64 x 128 went from 0.51 to 0.35 s by this; with BERT-base the
    difference was within the noise of the machine.

    Returns:
        Whether it could be done: False where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(parameter, value) == 1 for parameter, value in _SETTINGS.values())
