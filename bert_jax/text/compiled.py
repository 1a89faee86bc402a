"""How compiled code is compiled, and a cache key for code that is spread over several files.

numba's on-disk cache notices a change in the file of the function that Python calls, but not in
the files of the functions that one calls in turn. So an entry point closes over the fingerprint of
every file it draws on: numba counts the values closed over into the cache's key.
"""

import hashlib
from pathlib import Path
from types import ModuleType
from typing import Any

from bert_jax.extras import raises

try:
    import numba
    from numba.extending import register_jitable
except ModuleNotFoundError as _error:  # said where compiled code is to run
    numba, _missing = None, raises(_error)  # type: ignore[assignment]

# Arrays come from Python and outlive the call, so compiled code need not count references to them;
# counting took most of its time. Such code cannot make arrays of its own.
_UNCOUNTED: Any = {"nogil": True, "_nrt": False}

# For functions that Python calls; cached on disk.
entry: Any = numba.njit(cache=True, **_UNCOUNTED) if numba else lambda function: _missing

# For functions that only compiled code calls: without the wrappers that Python would call them by,
# which take most of the time to compile.
_UNWRAPPED: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
inner: Any = numba.njit(**_UNWRAPPED, **_UNCOUNTED) if numba else entry

# For functions that both Python and compiled code call.
shared: Any = register_jitable if numba else lambda function: function

# Casts what is loaded from an int32 array, so that no function is compiled for both widths.
int64: Any = numba.int64 if numba else int


def fingerprint(*modules: ModuleType) -> int:
    """Return 63 bits that change when the source of any of the modules does."""
    digest = hashlib.sha256()
    for module in modules:
        assert module.__file__ is not None
        digest.update(Path(module.__file__).read_bytes())
    return int.from_bytes(digest.digest()[:8], "little") >> 1
