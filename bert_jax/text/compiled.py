"""A cache key for compiled code that is spread over several files.

numba's on-disk cache notices a change in the file of the function that Python calls, but not in
the files of the functions that one calls in turn. So an entry point closes over the fingerprint of
every file it draws on: numba counts the values closed over into the cache's key.
"""

import hashlib
from pathlib import Path
from types import ModuleType


def fingerprint(*modules: ModuleType) -> int:
    """Return 63 bits that change when the source of any of the modules does."""
    digest = hashlib.sha256()
    for module in modules:
        assert module.__file__ is not None
        digest.update(Path(module.__file__).read_bytes())
    return int.from_bytes(digest.digest()[:8], "little") >> 1
