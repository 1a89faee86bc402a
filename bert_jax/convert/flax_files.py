"""Flax's msgpack files, as transformers wrote them up to version 4: arrays read one by one.

    flax_model.msgpack    {"bert": {"encoder": {"layer": {"0": {…: array}}}}, "cls": …}
    flax_model-00001-of-00002.msgpack, flax_model.msgpack.index.json    {"bert/encoder/…": array}

Nothing in such a file can run. A name is the path of keys to an array, with slashes between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgpack
import numpy as np
from flax.serialization import msgpack_restore

from bert_jax.convert.names import Scheme
from bert_jax.convert.safetensors_files import files_of
from bert_jax.errors import UserError

_DEEPEST = 32  # maps inside maps; a BERT has 8
_CHUNKED = "__msgpack_chunked_array__"  # the first key of an array of more than 1 GiB, in pieces


class _Place(NamedTuple):
    """Where the bytes of an array lie."""

    file: Path
    start: int
    end: int


class FlaxFile:
    """The arrays of one file, or of the files an index names.

    Args:
        path: a `.msgpack` file, or a `.msgpack.index.json` beside its files.

    Raises:
        UserError: a file is missing, or is no msgpack file of named arrays.
    """

    scheme: Scheme = "flax"

    def __init__(self, path: Path):
        self.path = str(path)
        self._places: dict[str, _Place] = {}
        shapes = {}
        for file in files_of(path):
            try:
                for name, place in _places(file):
                    self._places[name] = place
                    shapes[name] = _restored(place).shape
            except OSError as error:
                raise _unreadable(file, error.strerror) from None
            except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
                reason = str(error) or type(error).__name__
                raise _unreadable(file, f"as msgpack: {reason}") from None
        self.shapes: Mapping[str, tuple[int, ...]] = shapes

    def read(self, name: str) -> np.ndarray:
        """One array, in the dtype of the file."""
        return _restored(self._places[name])


def _places(path: Path) -> Iterator[tuple[str, _Place]]:
    """The name and place of every array of a file; no array is kept."""
    size = path.stat().st_size
    with path.open("rb") as file, path.open("rb") as first_bytes:
        unpacker = msgpack.Unpacker(file, max_buffer_size=size, raw=False)

        def at_map() -> bool:
            first_bytes.seek(unpacker.tell())
            kind = first_bytes.read(1)
            return bool(kind) and (0x80 <= kind[0] <= 0x8F or kind[0] in (0xDE, 0xDF))

        def inside(keys: tuple[str, ...]) -> Iterator[tuple[str, _Place]]:
            start = unpacker.tell()
            if not at_map():
                unpacker.skip()
                yield "/".join(keys), _Place(path, start, unpacker.tell())
                return
            if len(keys) > _DEEPEST:
                raise ValueError(f"maps inside maps, more than {_DEEPEST}")
            for number in range(unpacker.read_map_header()):
                key = unpacker.unpack()
                if key == _CHUNKED and number == 0:
                    first_bytes.seek(start)
                    whole = msgpack.Unpacker(first_bytes, max_buffer_size=size)
                    whole.skip()
                    end = start + whole.tell()
                    while unpacker.tell() < end:
                        unpacker.skip()
                    yield "/".join(keys), _Place(path, start, end)
                    return
                if not isinstance(key, str):
                    raise ValueError(f"the key {key!r}, which is not a name")
                yield from inside((*keys, key))

        if not at_map():
            raise ValueError("no map of names to arrays")
        yield from inside(())


def _restored(place: _Place) -> np.ndarray:
    with place.file.open("rb") as file:
        file.seek(place.start)
        return np.asarray(msgpack_restore(file.read(place.end - place.start)))


def _unreadable(file: Path, why: str | None) -> UserError:
    return UserError(
        f"got {file}, which cannot be read ({why}); expected a whole flax_model.msgpack, as"
        " transformers wrote it: download or copy it again"
    )
