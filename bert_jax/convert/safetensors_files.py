"""Safetensors: read one file or many under an index, write one array after another."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  (safetensors returns bfloat16 arrays once numpy knows the type)
import numpy as np
from safetensors import SafetensorError, safe_open

from bert_jax.convert.names import Scheme
from bert_jax.errors import UserError
from bert_jax.json_reading import read_json_object
from bert_jax.pretrained_paths import check_fetched

INDEX = "model.safetensors.index.json"


class SafetensorsFile:
    """The arrays of one file, or of the files an index names. Nothing is read before it is asked.

    Args:
        path: a `.safetensors` file, or a `.safetensors.index.json` beside its files.

    Raises:
        UserError: a file is missing or no safetensors file.
    """

    scheme: Scheme = "huggingface"

    def __init__(self, path: Path):
        self.path = str(path)
        self._files: dict[str, Path] = {}
        shapes = {}
        for file in files_of(path):
            with _opened(file) as content:
                for name in content.keys():  # noqa: SIM118  (no mapping)
                    self._files[name] = file
                    shapes[name] = tuple(content.get_slice(name).get_shape())
        self.shapes: Mapping[str, tuple[int, ...]] = shapes

    def read(self, name: str) -> np.ndarray:
        """One array, in the dtype of the file."""
        # Opened anew for each: the pages of a file that stays mapped would all count as ours.
        with _opened(self._files[name]) as content:
            try:
                return content.get_tensor(name)
            except (SafetensorError, TypeError, AttributeError) as error:
                raise UserError(
                    f"got {self._files[name]}, whose {name} is of a type that NumPy lacks"
                    f" ({error}); expected floating-point numbers"
                ) from None


def _opened(file: Path) -> Any:
    try:
        return safe_open(file, framework="numpy")
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"got {file}, which cannot be read as safetensors ({error}); expected a whole file: "
            "download or copy it again"
        ) from None


def files_of(path: Path) -> list[Path]:
    """The files that an index names, which lie beside it; any other file is itself.

    Raises:
        UserError: the index cannot be read, or one of the files was never fetched.
    """
    check_fetched(path)
    files = _indexed(path) if path.name.endswith(".index.json") else [path]
    for file in files:
        check_fetched(file)
    return files


def _indexed(index: Path) -> list[Path]:
    expected = "a JSON object with weight_map, the names of files next to it"
    files = read_json_object(index, expected).get("weight_map")
    names = files.values() if isinstance(files, dict) else [None]
    for name in names:
        if not isinstance(name, str) or name in ("", ".", "..") or Path(name).name != name:
            raise UserError(f"got {index} with weight_map naming {name!r}; expected {expected}")
    return [index.with_name(name) for name in sorted(set(names))]


def write_safetensors(
    path: Path,
    arrays: Mapping[str, tuple[tuple[int, ...], Callable[[], np.ndarray]]],
    metadata: Mapping[str, str],
) -> None:
    """Write fp32 arrays one after another: only one is in memory at a time.

    The library writes from a dict of all arrays, and so holds a second copy of the weights.

        8 bytes: n | n bytes: {"name": {"dtype", "shape", "data_offsets"}, …} | the arrays

    Args:
        path: the file to write.
        arrays: shape and maker by name.
        metadata: text by name, kept in the header.

    Source: https://github.com/huggingface/safetensors, "Format".
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, (shape, _) in arrays.items():
        size = 4 * int(np.prod(shape, dtype=np.int64))
        header[name] = {
            "dtype": "F32",
            "shape": list(shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # arrays begin at a multiple of 8
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name, (shape, make) in arrays.items():
            array = make()
            assert array.shape == shape and array.dtype == np.float32, name
            file.write(array.astype("<f4", copy=False).data)
