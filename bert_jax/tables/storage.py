"""Read embedding tables from wherever they are, write them in the format a name asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bert_jax.arguments import expect, is_url, path_like
from bert_jax.convert.pretrained import load_pretrained, locate_model
from bert_jax.errors import UserError
from bert_jax.mirror import as_given, at_hand, told_by_url
from bert_jax.pretrained_paths import find_ours
from bert_jax.tables.array_files import (
    is_whole_model,
    load_npz,
    load_safetensors,
    save_npz,
    save_safetensors,
)
from bert_jax.tables.embedding_tables import EmbeddingTables
from bert_jax.tables.orbax_tables import is_orbax_tables, load_orbax_tables, save_orbax_tables
from bert_jax.tables.word2vec import save_word2vec


@told_by_url()
def load_tables(source: str | Path) -> EmbeddingTables:
    """Read embedding tables, and nothing else of the model.

    Args:
        source: one of
            a `.npz` or `.safetensors` of tables, or a folder of them, as `save_tables` writes;
            a checkpoint of ours, or the workdir of a run, which means its newest checkpoint;
            a Hugging Face directory; a Google checkpoint, by its directory or its prefix;
            where there is no such path: the name of a model on the Hugging Face hub.

    Raises:
        UserError: it does not exist, or has no embedding tables.
    """
    path = Path(path_like("source", source, "the path of tables or of a checkpoint"))
    if is_url(source) and path.suffix in FORMATS:
        path = at_hand(source)
    if path.suffix == ".npz":
        return load_npz(path)
    if path.suffix == ".vec" or (path.suffix == ".txt" and path.is_file()):
        raise UserError(
            f"got {path}, which has no segment and position tables; expected all three, or word"
            " vectors beside tables or a model to put them into: experiments.edit_embeddings takes"
            " them as `token_rows`"
        )
    if path.suffix == ".safetensors":
        if not is_whole_model(path):
            return load_safetensors(path)
        path = at_hand(as_given(path.parent))  # its configuration and vocabulary are beside it
    elif path.suffix != ".orbax":
        path = locate_model(source)
    if is_orbax_tables(path):
        return load_orbax_tables(path)
    if (ours := find_ours(path)) is not None:
        return load_orbax_tables(ours)
    pretrained = load_pretrained(path, embeddings_only=True)
    return EmbeddingTables.from_params(
        pretrained.params["bert"]["embeddings"], pretrained.tokenizer
    )


def save_tables(tables: EmbeddingTables, path: str | Path) -> None:
    """Write tables in the format the suffix of `path` names, whole or not at all.

    Raises:
        UserError: a suffix that is not in `FORMATS`, or `path` cannot be written.
    """
    path_like("path", path)
    expect("tables", tables, EmbeddingTables, "embedding tables, as load_tables gives them")
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
