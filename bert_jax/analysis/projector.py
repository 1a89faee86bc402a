r"""Files that TensorBoard's Embedding Projector opens: `tensorboard --logdir DIRECTORY`.

    token.bytes  position.bytes  segment.bytes      fp32, row after row
    token.tsv    position.tsv    segment.tsv        what each row is
    projector_config.pbtxt                          says which belongs to which

The tables are written as they lie in memory, which for 120,000 × 768 is 370 MB and a second; as
text it would be a gigabyte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax.errors import UserError


def write_projector(
    directory: str | Path,
    tables: Mapping[str, np.ndarray],
    metadata: Mapping[str, Mapping[str, Sequence[Any]]],
) -> None:
    """Write tables and what their rows are.

    Args:
        directory: made where absent.
        tables: name -> [n, D].
        metadata: name -> heading -> n values. Tabs and line ends in them become spaces.

    Raises:
        UserError: a column that has not one value a row.
    """
    directory = Path(directory)
    for name, columns in metadata.items():
        for heading, values in columns.items():
            if len(values) != len(tables[name]):
                raise UserError(
                    f"got {len(values)} values of {heading!r} for the {len(tables[name])} rows of"
                    f" {name}; expected one a row"
                )
    directory.mkdir(parents=True, exist_ok=True)
    entries = []
    for name, table in tables.items():
        np.ascontiguousarray(table, np.float32).tofile(directory / f"{name}.bytes")
        (directory / f"{name}.tsv").write_text(_tsv(metadata[name]), encoding="utf-8")
        entries.append(
            "embeddings {\n"
            f"  tensor_name: {json.dumps(name)}\n"
            f"  tensor_shape: {table.shape[0]}\n"
            f"  tensor_shape: {table.shape[1]}\n"
            f"  tensor_path: {json.dumps(f'{name}.bytes')}\n"
            f"  metadata_path: {json.dumps(f'{name}.tsv')}\n"
            "}\n"
        )
    (directory / "projector_config.pbtxt").write_text("".join(entries))


def _tsv(columns: Mapping[str, Sequence[Any]]) -> str:
    """One column has no heading, as the projector wants it; several have."""
    rows = [[_cell(value) for value in values] for values in zip(*columns.values(), strict=True)]
    heading = [list(columns)] if len(columns) > 1 else []
    return "".join("\t".join(row) + "\n" for row in heading + rows)


def _cell(value: Any) -> str:
    return " ".join(str(value).split()) or "·"
