"""Memory-mapped documents across processes: the file's name travels, not its content."""

import mmap
from dataclasses import dataclass, fields, replace

import numpy as np

from bert_jax.data.documents import Documents


@dataclass(frozen=True)
class _MappedFile:
    """Where the content of a `np.memmap` lies."""

    filename: str
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int


def unmapped(documents: Documents) -> Documents:
    """Return `documents` with each memory-mapped array replaced by the place of its file."""
    arrays = {field.name: getattr(documents, field.name) for field in fields(documents)}
    return replace(documents, **{name: _place(array) for name, array in arrays.items()})


def mapped_again(documents: Documents) -> Documents:
    """Undo `unmapped`, in another process of the same machine."""
    arrays = {field.name: getattr(documents, field.name) for field in fields(documents)}
    return replace(documents, **{name: _array(place) for name, place in arrays.items()})


def _place(array):
    # A slice of a memmap keeps the filename but not its own offset; its base is no mmap.
    if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap) and array.filename:
        return _MappedFile(str(array.filename), array.dtype, array.shape, array.offset)
    return array


def _array(place):
    if isinstance(place, _MappedFile):
        return np.memmap(place.filename, place.dtype, "r", place.offset, place.shape)
    return place
