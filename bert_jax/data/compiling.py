"""Compiling loops over pieces to machine code, by numba."""

from collections.abc import Callable
from typing import Any

from bert_jax.extras import raises

try:
    import numba
except ModuleNotFoundError as error:  # said where compiled code is to run
    numba, _missing = None, raises(error)  # type: ignore[assignment]


def compiled(function: Callable[..., Any]) -> Any:
    """Compile `function` at its first call; keep the machine code for later processes.

    It runs without the interpreter's lock, so that threads make batches side by side. The code is
    kept in `__pycache__`, or in the user's cache folder where that may not be written, or, where
    neither may, not at all: each process then compiles for some seconds.

    numba notices a change in the function's own file, not in the compiled functions that it calls
    from other files: after changing one of those, delete `__pycache__`.
    """
    if numba is None:
        return _missing
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # "no locator available": nowhere to write
        return numba.njit(nogil=True)(function)
