"""Arrays from `.npz` files that others wrote: only those asked for, none larger than the file says.

A `.npz` is a zip of `.npy` files, each with a header that says shape and type. NumPy allocates what
the header says before it reads, and unpacks whatever there is.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO

import numpy as np

from bert_jax.errors import UserError

_MOST_UNPACKED = 10  # times the size of the file; numbers that were learned hardly pack
# RuntimeError of an archive with a password, NotImplementedError of one packed in another way.
_UNREADABLE = (
    OSError, ValueError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip
_SMALL = 16 << 20  # bytes that nobody counts


def read_npz(path: str | Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Read arrays of a `.npz`.

    Args:
        path: the file.
        names: of the arrays; those that it lacks are left out, and others are not looked at.

    Raises:
        UserError: it cannot be read, or an array is not what its header says, much larger than the
            whole file, or of Python objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            wanted = {name: members[name] for name in names if name in members}
            most = _SMALL + _MOST_UNPACKED * Path(path).stat().st_size
            if (unpacked := sum(info.file_size for info in wanted.values())) > most:
                raise ValueError(f"it would take {unpacked:,} bytes, many times its own size")
            return {name: _read(archive, info) for name, info in wanted.items()}
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as file:
        shape, dtype = _header(file)
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or size > info.file_size:
            raise ValueError(f"{info.filename} has a header of {shape} {dtype}, which it is not")
    with archive.open(info) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version, np.lib.format.read_array_header_2_0)  # fmt: skip
    shape, _, dtype = read(file)
    return shape, dtype


def _unreadable(path: str | Path, error: Exception) -> UserError:
    why = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return UserError(
        f"got {str(path)!r}, which cannot be read ({' '.join(why.split())}); expected arrays in a"
        " .npz"
    )
