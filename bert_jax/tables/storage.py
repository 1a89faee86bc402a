"""Read embedding tables from wherever they are, write them in the format a name asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bert_jax.errors import UserError
from bert_jax.tables.array_files import (
    is_table_file,
    load_npz,
    load_safetensors,
    save_npz,
    save_safetensors,
)
from bert_jax.tables.embedding_tables import EmbeddingTables
from bert_jax.tables.orbax_tables import is_orbax_tables, load_orbax_tables, save_orbax_tables
from bert_jax.tables.word2vec import save_word2vec


def load_tables(path: str | Path) -> EmbeddingTables:
    """Read embedding tables, and nothing else of what lies beside them.

    Args:
        path: one of
            a `.npz` or `.safetensors` written by `save_tables`;
            a folder written by `save_tables`, or a checkpoint of a run (`…/checkpoints/600`);
            the workdir of a run, which means its newest checkpoint.

    Raises:
        UserError: there is nothing, or nothing that has embedding tables.
    """
    path = Path(path)
    if path.suffix == ".npz":
        return load_npz(path)
    if path.suffix == ".safetensors" and (not path.is_file() or is_table_file(path)):
        return load_safetensors(path)
    if is_orbax_tables(path):
        return load_orbax_tables(path)
    if (path / "checkpoints").is_dir():
        return load_orbax_tables(newest_checkpoint(path))
    found = "which has no embedding tables" if path.exists() else "where there is nothing"
    raise UserError(
        f"got {str(path)!r}, {found};"
        " expected a checkpoint or workdir of bert_jax, or a .npz or .safetensors of tables"
    )


def newest_checkpoint(workdir: str | Path) -> Path:
    """Where the newest checkpoint of a run lies.

    Raises:
        UserError: it has none yet.
    """
    folder = Path(workdir) / "checkpoints"
    steps = [int(path.name) for path in folder.glob("*") if path.name.isdecimal()]
    if not steps:
        raise UserError(f"got {workdir}, a run that has no checkpoint yet; expected one that has")
    return folder / str(max(steps))


def save_tables(tables: EmbeddingTables, path: str | Path) -> None:
    """Write tables in the format the suffix of `path` names, whole or not at all.

    Raises:
        UserError: a suffix that is none of `FORMATS`, or `path` cannot be written.
    """
    FORMATS[table_format(path)](tables, path)


def table_format(path: str | Path) -> str:
    """The suffix of `path`, one of `FORMATS`.

    Raises:
        UserError: it is none of them.
    """
    suffix = Path(path).suffix
    if suffix not in FORMATS:
        raise UserError(f"got {str(path)!r}; expected a name that ends in {', '.join(FORMATS)}")
    return suffix


def _save_vocabulary(tables: EmbeddingTables, path: str | Path) -> None:
    if tables.tokenizer is None:
        raise UserError("got embedding tables without a vocabulary; expected one to write")
    try:
        tables.tokenizer.save(path)
    except OSError as error:
        raise UserError(f"got {str(path)!r}, which cannot be written ({error.strerror})") from error


FORMATS: dict[str, Callable[[EmbeddingTables, str | Path], None]] = {
    ".npz": save_npz,
    ".safetensors": save_safetensors,
    ".orbax": save_orbax_tables,  # a folder
    ".vec": save_word2vec,
    ".txt": _save_vocabulary,  # the pieces alone, as a vocab.txt
}
