"""The embedding tables of Hugging Face's and Google's checkpoints, read without the rest."""

from __future__ import annotations

from pathlib import Path

from bert_jax.config import BertConfig
from bert_jax.convert.google_tf import CONFIG, TensorFlowFile, find_google
from bert_jax.convert.huggingface import is_huggingface, weights_path
from bert_jax.convert.safetensors_files import SafetensorsFile
from bert_jax.convert.tokenizer_files import read_tokenizer
from bert_jax.convert.weights import WeightFile, read_params
from bert_jax.tables.embedding_tables import EmbeddingTables


def load_model_tables(path: Path) -> EmbeddingTables | None:
    """Read five arrays of a Hugging Face directory or a Google checkpoint, and its vocabulary.

    Returns:
        None where `path` is neither.

    Raises:
        UserError: it is one and cannot be read, or the arrays do not fit its configuration.
    """
    if is_huggingface(path):
        config = BertConfig.from_json(path / "config.json")
        return _read(SafetensorsFile(weights_path(path)), config, path)
    if (prefix := find_google(path)) is not None:
        config = BertConfig.from_json(prefix.with_name(CONFIG))
        return _read(TensorFlowFile(prefix), config, prefix.parent)
    return None


def _read(file: WeightFile, config: BertConfig, directory: Path) -> EmbeddingTables:
    params, _ = read_params(file, config, lambda ours: ours.startswith("bert/embeddings/"))
    tokenizer, _ = read_tokenizer(directory)
    return EmbeddingTables.from_params(params["bert"]["embeddings"], tokenizer)
