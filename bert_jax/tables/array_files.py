"""Embedding tables as one file: NumPy's `.npz`, or `.safetensors`.

Both hold `token`, `segment`, `position`, `norm_scale` and `norm_bias` in float32. The vocabulary is
JSON, as in checkpoints: in `.npz` a string array `vocabulary`, in `.safetensors` metadata of
that name. Nothing is pickled.

    archive = np.load("tables.npz")
    archive["token"].shape, json.loads(str(archive["vocabulary"]))["pieces"][2000]
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from bert_jax.array_reading import read_npz
from bert_jax.convert.safetensors_files import write_safetensors
from bert_jax.errors import UserError
from bert_jax.json_reading import NotJSONError, parse_json
from bert_jax.pretrained_paths import check_fetched
from bert_jax.tables.embedding_tables import ARRAYS, EmbeddingTables
from bert_jax.text.vocabulary_record import tokenizer_from_record, vocabulary_record
from bert_jax.whole_file import whole_file

_VOCABULARY = "vocabulary"


def save_npz(tables: EmbeddingTables, path: str | Path) -> None:
    """Write an uncompressed `.npz`, whole or not at all."""
    content: dict[str, Any] = _arrays(tables)
    if tables.tokenizer is not None:
        content[_VOCABULARY] = np.array(json.dumps(vocabulary_record(tables.tokenizer)))
    with whole_file(path) as partial, partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **content)


def load_npz(path: str | Path) -> EmbeddingTables:
    """Read what `save_npz` wrote.

    Raises:
        UserError: no such file, no `.npz`, arrays missing or of the wrong shape.
    """
    check_fetched(Path(path))
    content = read_npz(path, (*ARRAYS, _VOCABULARY))
    record = content.pop(_VOCABULARY, None)
    return _tables(content, None if record is None else str(record), str(path))


def save_safetensors(tables: EmbeddingTables, path: str | Path) -> None:
    """Write a `.safetensors`, whole or not at all."""
    metadata = {"format": "np"}
    if tables.tokenizer is not None:
        metadata[_VOCABULARY] = json.dumps(vocabulary_record(tables.tokenizer))
    with whole_file(path) as partial:
        write_safetensors(
            partial, {name: (a.shape, a.view) for name, a in _arrays(tables).items()}, metadata
        )


def load_safetensors(path: str | Path) -> EmbeddingTables:
    """Read what `save_safetensors` wrote.

    Raises:
        UserError: no such file, no `.safetensors`, arrays missing or of the wrong shape.
    """
    check_fetched(Path(path))
    try:
        with safe_open(path, framework="numpy") as file:
            present = set(file.keys())
            content = {name: file.get_tensor(name) for name in ARRAYS if name in present}
            record = (file.metadata() or {}).get(_VOCABULARY)
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error
    return _tables(content, record, str(path))


def is_whole_model(path: str | Path) -> bool:
    """Whether a `.safetensors` holds a model of Hugging Face's and not tables alone."""
    try:
        with safe_open(path, framework="numpy") as file:
            return any(name.endswith("word_embeddings.weight") for name in file.keys())  # noqa: SIM118
    except (OSError, SafetensorError):
        return False


def _arrays(tables: EmbeddingTables) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(getattr(tables, name)) for name in ARRAYS}


def _tables(content: Mapping[str, np.ndarray], record: str | None, path: str) -> EmbeddingTables:
    if missing := [name for name in ARRAYS if name not in content]:
        raise UserError(
            f"got {path} without {', '.join(missing)}; expected embedding tables:"
            f" {', '.join(ARRAYS)}"
        )
    tokenizer = None
    if record is not None:
        try:
            content_of = parse_json(record)
        except NotJSONError as error:
            raise UserError(
                f"got {path}, whose vocabulary is not valid JSON ({error}); expected what"
                " experiments.edit_embeddings writes"
            ) from error
        if not isinstance(content_of, dict):
            raise UserError(f"got {path}, whose vocabulary is not a JSON object; expected one")
        tokenizer = tokenizer_from_record(content_of, path)
    try:
        return EmbeddingTables(**{name: content[name] for name in ARRAYS}, tokenizer=tokenizer)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _unreadable(path: str | Path, error: Exception) -> UserError:
    why = getattr(error, "strerror", None) or error
    return UserError(
        f"got {str(path)!r}, which cannot be read ({why}); expected embedding tables in a"
        " .safetensors"
    )
