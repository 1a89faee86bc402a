"""Any checkpoint, whoever wrote it, from its path or its name on the hub."""

from __future__ import annotations

import os

from bert_jax.convert.contents import Pretrained
from bert_jax.convert.google_tf import load_google
from bert_jax.convert.huggingface import WEIGHTS, is_huggingface, load_huggingface
from bert_jax.convert.ours import load_ours
from bert_jax.convert.safetensors_files import INDEX
from bert_jax.errors import UserError
from bert_jax.pretrained_paths import find_google, find_ours, locate
from bert_jax.text.tokenizer_files import FILES

__all__ = ["MODEL_FILES", "Pretrained", "load_pretrained"]

MODEL_FILES = ("config.json", WEIGHTS, INDEX, "model-*.safetensors", *FILES)
"""What is fetched of a model on the hub."""


def load_pretrained(
    source: str | os.PathLike[str], *, embeddings_only: bool = False, splitting: str | None = None
) -> Pretrained:
    """Read a checkpoint of any kind into memory.

    Args:
        source: a checkpoint or workdir of ours (of which the newest step is taken), a Hugging
            Face directory, a Google TensorFlow checkpoint (its directory or its prefix), or a
            name on the Hugging Face hub. A path, also a mistyped one, is never looked up on the
            network: see `bert_jax.pretrained_paths`.
        embeddings_only: read the three tables and their LayerNorm alone; `params` then holds
            nothing else, and the rest of the file is not read.
        splitting: how text is split, where the checkpoint does not say: `words`, `spaces`, or a
            regular expression (`bert_jax.text.splitting`).

    Raises:
        UserError: there is no such thing, or it cannot be read; says what is wrong. Or it says that
            text is split in another way.
    """
    path = locate(source, MODEL_FILES)
    if (ours := find_ours(path)) is not None:
        return load_ours(ours, embeddings_only, splitting)
    if is_huggingface(path):
        return load_huggingface(path, embeddings_only, splitting)
    if (google := find_google(path)) is not None:
        return load_google(google, embeddings_only, splitting)
    raise UserError(
        f"got {source}, which is no checkpoint; expected a workdir or checkpoint of bert_jax, a "
        "Hugging Face directory with a config.json, or a Google checkpoint with a "
        "bert_config.json"
    )
