"""Features as a table in a file, written while they come: .npz or .parquet.

    text  position  id    piece  layer_6                         a row a token
    0     0         101   [CLS]  [0.12, -0.40, …]
    0     1         1045  i      [0.31, 0.08, …]

With pooled features a row is a text and has no position, id and piece. In a `.npz` each column is
an array of its name, `layer_6` fp32 [rows, D]; instead of a column `piece` it has the vocabulary
once, as `pieces`: `pieces[id]`.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np

from bert_jax.arguments import is_url
from bert_jax.errors import UserError
from bert_jax.inference.features import Features
from bert_jax.whole_file import whole_file

SUFFIXES = (".npz", ".parquet")
_ROWS = 4096  # rows of a parquet row group, and of one write


def check_suffix(path: str | Path) -> None:
    """Check that we can write a file of this name.

    Raises:
        UserError: another suffix, or no folder to put it in.
    """
    if Path(path).suffix not in SUFFIXES:
        raise UserError(f"got {path}; expected a name that ends in {' or '.join(SUFFIXES)}")
    if not is_url(path) and (Path(path).is_dir() or not Path(path).parent.is_dir()):
        raise UserError(f"got {path}; expected a file in a folder that exists")


def write_features(
    path: str | Path,
    features: Iterable[Features],
    layers: Sequence[int],
    pieces: Sequence[str] | None,
) -> int:
    """Write all features, whole or not at all, in constant memory.

    Args:
        path: ends in one of `SUFFIXES`.
        features: text by text.
        layers: whose vectors they hold.
        pieces: the vocabulary, if there is a vector per token; None if there is one per text.

    Returns:
        How many rows were written.
    """
    check_suffix(path)
    write = _write_npz if Path(path).suffix == ".npz" else _write_parquet
    with whole_file(path) as partial:
        return write(partial, _chunks(features, layers, pieces is None), pieces)


def _chunks(
    features: Iterable[Features], layers: Sequence[int], pooled: bool
) -> Iterator[dict[str, np.ndarray]]:
    """Columns of some thousand rows at a time."""
    waiting: list[dict[str, np.ndarray]] = []
    count = 0
    for number, of_text in enumerate(features):
        length = 1 if pooled else len(of_text.ids)
        columns: dict[str, np.ndarray] = {"text": np.full(length, number, np.int64)}
        if not pooled:
            columns["position"] = np.arange(length, dtype=np.int32)
            columns["id"] = np.array(of_text.ids, np.int32)
        for layer in layers:
            vectors = of_text.vectors[layer]
            columns[f"layer_{layer}"] = vectors[None] if pooled else vectors
        waiting.append(columns)
        count += length
        if count >= _ROWS:
            yield _joined(waiting)
            waiting, count = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _write_parquet(
    path: Path, chunks: Iterator[dict[str, np.ndarray]], pieces: Sequence[str] | None
) -> int:
    import pyarrow
    from pyarrow import parquet

    rows = 0
    with ExitStack() as stack:
        writer: Any = None
        for columns in chunks:
            arrays = {}
            for name, values in columns.items():
                arrays[name] = (
                    pyarrow.FixedSizeListArray.from_arrays(values.ravel(), values.shape[1])
                    if values.ndim == 2
                    else pyarrow.array(values)
                )
                if name == "id" and pieces is not None:
                    arrays["piece"] = pyarrow.array([pieces[i] for i in values])
            table = pyarrow.table(arrays)
            if writer is None:
                writer = stack.enter_context(parquet.ParquetWriter(path, table.schema))
            writer.write_table(table)
            rows += len(table)
        if writer is None:
            parquet.write_table(pyarrow.table({}), path)
    return rows


def _write_npz(
    path: Path, chunks: Iterator[dict[str, np.ndarray]], pieces: Sequence[str] | None
) -> int:
    """Columns grow in files of their own, since a .npy begins with the number of its rows."""
    bodies: dict[str, IO[bytes]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    types: dict[str, np.dtype] = {}
    rows = 0
    with ExitStack() as stack:
        for columns in chunks:
            rows += len(columns["text"])
            for name, values in columns.items():
                if name not in bodies:
                    bodies[name] = stack.enter_context(tempfile.TemporaryFile(dir=path.parent))
                    shapes[name], types[name] = values.shape[1:], values.dtype
                bodies[name].write(np.ascontiguousarray(values).data)
        with zipfile.ZipFile(path, "w") as archive:
            for name, body in bodies.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    _npy_header(member, types[name], (rows, *shapes[name]))
                    body.seek(0)
                    while block := body.read(1 << 24):
                        member.write(block)
            if pieces is not None:
                with archive.open("pieces.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.array(pieces), allow_pickle=False)
    return rows


def _npy_header(file: IO[bytes], dtype: np.dtype, shape: tuple[int, ...]) -> None:
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(file, header)
