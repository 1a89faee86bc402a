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

from bert_jax.arguments import is_url
from bert_jax.errors import UserError
from bert_jax.whole_file import whole_file, write_text


def write_projector(
    directory: str | Path,
    tables: Mapping[str, np.ndarray],
    metadata: Mapping[str, Mapping[str, Sequence[Any]]],
) -> None:
    """Write tables and what their rows are, each file whole or not at all.

    Args:
        directory: made where absent; or a bucket's URL.
        tables: name -> [n, D].
        metadata: name -> heading -> n values. Tabs and line ends in them become spaces.

    Raises:
        UserError: a column without exactly one value per row, or the directory cannot be written.
    """
    for name, columns in metadata.items():
        for heading, values in columns.items():
            if len(values) != len(tables[name]):
                raise UserError(
                    f"got {len(values)} values of {heading!r} for the {len(tables[name])} rows of"
                    f" {name}; expected one per row"
                )
    try:
        if not is_url(directory):
            Path(directory).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"got {directory}, which cannot be written ({error.strerror}); expected a directory"
        ) from error
    entries = []
    for name, table in tables.items():
        with whole_file(f"{directory}/{name}.bytes") as partial:
            np.ascontiguousarray(table, np.float32).tofile(partial)
        write_text(f"{directory}/{name}.tsv", _tsv(metadata[name]))
        entries.append(
            "embeddings {\n"
            f"  tensor_name: {json.dumps(name)}\n"
            f"  tensor_shape: {table.shape[0]}\n"
            f"  tensor_shape: {table.shape[1]}\n"
            f"  tensor_path: {json.dumps(f'{name}.bytes')}\n"
            f"  metadata_path: {json.dumps(f'{name}.tsv')}\n"
            "}\n"
        )
    write_text(f"{directory}/projector_config.pbtxt", "".join(entries))


def _tsv(columns: Mapping[str, Sequence[Any]]) -> str:
    """One column has no heading, as the projector wants it; several have."""
    rows = [[_cell(value) for value in values] for values in zip(*columns.values(), strict=True)]
    heading = [list(columns)] if len(columns) > 1 else []
    return "".join("\t".join(row) + "\n" for row in heading + rows)


def _cell(value: Any) -> str:
    return " ".join(str(value).split()) or "·"
