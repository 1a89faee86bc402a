"""Any checkpoint, whoever wrote it, from its path or its name on the hub."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict

from bert_jax import hub
from bert_jax.convert.contents import Pretrained
from bert_jax.convert.found_weights import FLAX_FILES, SAFETENSORS_FILES, has_weights, no_weights
from bert_jax.convert.google_tf import load_google
from bert_jax.convert.huggingface import is_huggingface, load_huggingface
from bert_jax.convert.model_card import CARD
from bert_jax.convert.ours import load_ours
from bert_jax.convert.sentence_encoders import SENTENCE_FILES
from bert_jax.errors import UserError
from bert_jax.mirror import as_given, told_by_url
from bert_jax.parameters import Parameters
from bert_jax.pretrained_paths import (
    find_google,
    find_ours,
    here_or_inside,
    is_path,
    is_workdir,
    locate,
    model_folder,
)
from bert_jax.text.tokenizer_files import FILES

__all__ = ["Pretrained", "load_pretrained", "locate_model"]


@told_by_url()
def load_pretrained(
    source: str | os.PathLike[str],
    *,
    embeddings_only: bool = False,
    splitting: str | None = None,
    allow_not_finite: bool = False,
) -> Pretrained:
    """Read a checkpoint of any kind into memory.

    Args:
        source: a checkpoint or workdir of ours (of which the newest step is taken), a Hugging
            Face directory, a Google TensorFlow checkpoint (its directory or its prefix), or a
            name on the Hugging Face hub. A path, also a mistyped one, is never looked up on the
            network: see `bert_jax.pretrained_paths`.
        embeddings_only: read the three tables and their LayerNorm alone; `params` then holds
            nothing else, and the rest of the file is not read.
        splitting: how text is split, if the checkpoint does not say: `words`, `spaces`, or a
            regular expression (`bert_jax.text.splitting`).
        allow_not_finite: whether weights may be NaN or infinite, as those of a run that diverged.

    Raises:
        UserError: it does not exist, cannot be read, or says that text is split in
            another way; the message says which.
    """
    path = locate_model(source)
    pretrained = _load(source, path, embeddings_only, splitting)
    if not allow_not_finite:
        _check_finite(source, pretrained.params)
    return dataclasses.replace(pretrained, origin=pretrained.origin or _origin(source, path))


def hub_commit(source: str | os.PathLike[str], pretrained: Pretrained) -> str | None:
    """The commit of the hub that a model was read from by name; None of one from a path."""
    if is_path(source):
        return None
    return (pretrained.origin or "").partition("@")[2] or None


def _origin(source: str | os.PathLike[str], path: Path) -> str:
    if is_path(source):
        return as_given(find_ours(path) or source)
    return f"{str(source).partition('@')[0]}@{path.name}"  # the commit that was fetched


def _load(
    source: str | os.PathLike[str], path: Path, embeddings_only: bool, splitting: str | None
) -> Pretrained:
    if (ours := find_ours(path)) is not None:
        return load_ours(ours, embeddings_only, splitting)
    if is_workdir(path):
        raise UserError(
            f"got {source}, the workdir of a run that has no finished checkpoint yet; expected one"
            " that has: the command that began the run continues it"
        )
    if is_huggingface(model_folder(path)):
        return load_huggingface(path, embeddings_only, splitting)
    if (google := find_google(path)) is not None:
        return load_google(google, embeddings_only, splitting)
    if path.suffix in (".npz", ".vec"):
        raise UserError(
            f"got {source}, embedding tables without a model; expected a model:"
            " experiments.edit_embeddings and experiments.inspect_embeddings take tables alone, and"
            " so does a pretraining run, as `init_embeddings`"
        )
    raise UserError(
        f"got {source}, which is not a checkpoint; expected a workdir or checkpoint of bert_jax, a "
        "Hugging Face directory with a config.json, or a Google checkpoint with a "
        "bert_config.json"
    )


def locate_model(source: str | os.PathLike[str]) -> Path:
    """The path of a checkpoint, fetched from the hub where that is where it is.

    Of weights in several forms on the hub, one is fetched: safetensors, else Flax's msgpack.

    Raises:
        UserError: there is nothing, or the hub's model has no weights in these forms.
    """
    model = here_or_inside(("config.json", *SAFETENSORS_FILES, *FILES))
    wanted, flax = (*model, *SENTENCE_FILES, CARD), here_or_inside(FLAX_FILES)
    if is_path(source):
        return locate(source, (*wanted, *flax))
    path = locate(source, wanted)
    if has_weights(model_folder(path)):
        return path
    name = _origin(source, path)
    path = hub.fetch(name, flax)
    if has_weights(model_folder(path)):
        return path
    raise no_weights(str(source), hub.files_of(name))


def _check_finite(source: str | os.PathLike[str], params: Parameters) -> None:
    def is_finite(leaf: np.ndarray) -> bool:  # the extremes of an array with NaN in it are NaN
        return bool(np.isfinite(leaf.min()) and np.isfinite(leaf.max()))

    leaves = flatten_dict(params, sep="/")
    broken = [name for name, leaf in leaves.items() if not is_finite(np.asarray(leaf))]
    if broken:
        raise UserError(
            f"got {source} with NaN or infinite values in {', '.join(broken[:3])}"
            f"{' …' if len(broken) > 3 else ''}; expected finite weights, such as those of an"
            " earlier checkpoint (experiments.convert copies them as they are with"
            " `allow_not_finite`)"
        )
