"""Google's original TensorFlow checkpoints: bert_model.ckpt.*, bert_config.json, vocab.txt.

Needs TensorFlow, which nothing else here does: the extra `[google-tf]` brings it.

What Google's code calls `gelu` is the exact one in the version BERT was trained with and the tanh
approximation in the last one published; it is read as the exact one, as transformers reads it.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax.config import BertConfig
from bert_jax.convert.architectures import architecture_of
from bert_jax.convert.contents import Pretrained
from bert_jax.convert.names import Scheme
from bert_jax.convert.weights import EMBEDDINGS, EVERYTHING, named_arrays, read_params
from bert_jax.errors import UserError
from bert_jax.text.tokenizer_files import read_tokenizer
from bert_jax.whole_file import whole_folder

CONFIG, PREFIX = "bert_config.json", "bert_model.ckpt"
_LAYER_NORM_EPS = 1e-12  # a constant of Google's code, in no file


class TensorFlowFile:
    """The arrays of a TensorFlow checkpoint, read one by one.

    Args:
        prefix: such as `DIR/bert_model.ckpt`: the files' names up to `.index`.
    """

    scheme: Scheme = "google"

    def __init__(self, prefix: Path):
        tensorflow = _tensorflow(f"to read {prefix}")
        self.path = str(prefix)
        self._errors = (ValueError, tensorflow.errors.OpError)
        try:
            self._reader = tensorflow.train.load_checkpoint(self.path)
        except self._errors as error:
            raise self._unreadable(error) from None
        shapes = self._reader.get_variable_to_shape_map()
        self.shapes: Mapping[str, tuple[int, ...]] = {
            name: tuple(shape) for name, shape in sorted(shapes.items())
        }

    def read(self, name: str) -> np.ndarray:
        """One array, in the dtype of the file."""
        try:
            return self._reader.get_tensor(name)
        except self._errors as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> UserError:
        return UserError(
            f"got {self.path}, which TensorFlow cannot read ({error}); expected a whole "
            "checkpoint, its .index and .data files next to each other"
        )


def load_google(
    prefix: Path, embeddings_only: bool = False, splitting: str | None = None
) -> Pretrained:
    """Read a checkpoint, with or without the optimiser's slots; see `load_pretrained`.

    Raises:
        UserError: no TensorFlow, no bert_config.json next to it, or weights that do not fit.
    """
    config = BertConfig.from_json(prefix.with_name(CONFIG))
    file = TensorFlowFile(prefix)
    params, notes = read_params(file, config, EMBEDDINGS if embeddings_only else EVERYTHING)
    tokenizer, more = read_tokenizer(prefix.parent, splitting)
    return Pretrained(
        config=config,
        params=params,
        architecture=architecture_of(params),
        tokenizer=tokenizer,
        notes=(*notes, *more),
    )


def save_google(
    pretrained: Pretrained, directory: str | os.PathLike[str], *, overwrite: bool = False
) -> tuple[str, ...]:
    """Write the files that Google's code reads, whole or not at all.

    Returns:
        Notes: what Google's form has no place for.

    Raises:
        UserError: no TensorFlow, or see `files.new_directory`.
    """
    tensorflow = _tensorflow(f"to write {directory}")
    arrays, homeless = named_arrays(pretrained.params, pretrained.config, "google")
    config, notes = _config(pretrained.config)
    if homeless:
        notes.append(f"left out, having no place in Google's form: {', '.join(homeless)}")
    if pretrained.sentences is not None:
        notes.append("left out: how sentence vectors are made")
    if pretrained.labels:
        notes.append(f"left out: the class names {', '.join(pretrained.labels)}")
    with whole_folder(directory, overwrite=overwrite) as partial:
        tensorflow.raw_ops.SaveV2(
            prefix=str(partial / PREFIX),
            tensor_names=list(arrays),
            shape_and_slices=[""] * len(arrays),
            tensors=[make() for _, make in arrays.values()],
        )
        (partial / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        if pretrained.tokenizer is not None:
            pretrained.tokenizer.save(partial / "vocab.txt")
    return tuple(notes)


def _config(config: BertConfig) -> tuple[dict[str, Any], list[str]]:
    fields = dataclasses.asdict(config)
    notes = []
    if fields.pop("layer_norm_eps") != _LAYER_NORM_EPS:
        notes.append(
            f"layer_norm_eps is {config.layer_norm_eps}; Google's code computes with "
            f"{_LAYER_NORM_EPS} always"
        )
        fields["layer_norm_eps"] = config.layer_norm_eps
    if fields.pop("classifier_dropout") is not None:
        notes.append("left out: classifier_dropout, which Google's code does not have")
    del fields["tie_word_embeddings"], fields["pad_token_id"]
    return fields, notes


def _tensorflow(purpose: str) -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow greets on import
    try:
        import tensorflow
    except ImportError:
        raise UserError(
            f"got no TensorFlow {purpose}; expected the extra google-tf: "
            "python3 -m pip install -e '.[google-tf]'"
        ) from None
    return tensorflow
