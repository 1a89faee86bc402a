"""Any checkpoint, whoever wrote it, from its path or its name on the hub."""

from __future__ import annotations

import os
import re
from pathlib import Path

from bert_jax.convert.contents import Pretrained
from bert_jax.convert.google_tf import find_google, load_google
from bert_jax.convert.huggingface import WEIGHTS, is_huggingface, load_huggingface
from bert_jax.convert.ours import find_ours, load_ours
from bert_jax.convert.safetensors_files import INDEX
from bert_jax.convert.tokenizer_files import FILES
from bert_jax.errors import UserError

__all__ = ["Pretrained", "fetch", "load_pretrained"]

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def load_pretrained(source: str | os.PathLike[str], *, embeddings_only: bool = False) -> Pretrained:
    """Read a checkpoint of any kind into memory.

    Args:
        source: a checkpoint or workdir of ours (of which the newest step is taken), a Hugging
            Face directory, a Google TensorFlow checkpoint (its directory or its prefix), or a
            name on the Hugging Face hub. A path is never looked up on the network.
        embeddings_only: read the three tables and their LayerNorm alone; `params` then holds
            nothing else, and the rest of the file is not read.

    Raises:
        UserError: there is no such thing, or it cannot be read; says what is wrong.
    """
    path = Path(source)
    if not path.exists() and find_google(path) is None:
        path = fetch(str(source))
    if (ours := find_ours(path)) is not None:
        return load_ours(ours, embeddings_only)
    if is_huggingface(path):
        return load_huggingface(path, embeddings_only)
    if (google := find_google(path)) is not None:
        return load_google(google, embeddings_only)
    raise UserError(
        f"got {source}, which is no checkpoint; expected a workdir or checkpoint of bert_jax, a "
        "Hugging Face directory with a config.json, or a Google checkpoint with a "
        "bert_config.json"
    )


def fetch(name: str) -> Path:
    """Fetch a model from the Hugging Face hub, or find it in the hub's cache, and say where.

    Raises:
        UserError: `name` is no name of the hub, or there is no such model, or no network.
    """
    if not _HUB_NAME.fullmatch(name):
        raise UserError(
            f"got {name!r}, where there is nothing; expected the path of a checkpoint, or a name "
            "on the Hugging Face hub such as bert-base-uncased"
        )
    import huggingface_hub  # takes a second to import

    wanted = ["config.json", WEIGHTS, INDEX, "model-*.safetensors", *FILES]
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=wanted))
    except (OSError, ValueError) as error:  # all of the library's own errors are one or other
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"got {name!r}, where there is no file, and which the Hugging Face hub did not give "
            f"({reason}); expected the path of a checkpoint, or a model on the hub"
        ) from None
