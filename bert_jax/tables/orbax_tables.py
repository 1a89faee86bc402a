"""Embedding tables as an orbax checkpoint of their own, and inside full checkpoints.

tables/                        checkpoints/600/
  embeddings/                    embeddings/      the same two items
  vocabulary/                    vocabulary/
                                 state/ config/   never read here
"""

from __future__ import annotations

from pathlib import Path

from bert_jax.checkpoint_files import has_item, load_embeddings, load_json, save_embeddings
from bert_jax.tables.embedding_tables import EmbeddingTables
from bert_jax.text.vocabulary_record import tokenizer_from_record, vocabulary_record
from bert_jax.whole_file import whole_folder


def save_orbax_tables(tables: EmbeddingTables, path: str | Path) -> None:
    """Write tables as a folder with the items `embeddings` and, if there is one, `vocabulary`,
    whole or not at all.

    Raises:
        UserError: `path` holds something, or cannot be written.
    """
    tokenizer = tables.tokenizer
    with whole_folder(path) as partial:
        partial.rmdir()  # orbax makes it
        save_embeddings(
            partial, tables.to_params(), None if tokenizer is None else vocabulary_record(tokenizer)
        )


def load_orbax_tables(path: str | Path) -> EmbeddingTables:
    """Read the tables, and nothing else, from their own folder or from a full checkpoint.

    Raises:
        UserError: neither is there, or it is damaged.
    """
    embeddings = load_embeddings(path)
    tokenizer = None
    if has_item(path, "vocabulary"):
        tokenizer = tokenizer_from_record(load_json(path, "vocabulary"), str(path))
    return EmbeddingTables.from_params(embeddings, tokenizer)


def is_orbax_tables(path: str | Path) -> bool:
    """Whether `load_orbax_tables` would read it."""
    return has_item(path, "embeddings")
