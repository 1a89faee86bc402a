"""Hugging Face directories: config.json, the weights, the tokenizer's files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from bert_jax.config import BertConfig
from bert_jax.convert.architectures import PARTS, architecture_of, parts_of
from bert_jax.convert.class_names import Names, class_names, numbered_names
from bert_jax.convert.contents import Pretrained
from bert_jax.convert.found_weights import WEIGHTS, open_weights
from bert_jax.convert.model_card import CARD
from bert_jax.convert.safetensors_files import write_safetensors
from bert_jax.convert.sentence_encoders import (
    in_lower_case,
    read_sentence_encoder,
    wants_lower_case,
    write_sentence_encoder,
)
from bert_jax.convert.weights import EMBEDDINGS, EVERYTHING, named_arrays, read_params
from bert_jax.json_reading import check_members, read_json_object
from bert_jax.parameters import Parameters
from bert_jax.pretrained_paths import model_folder
from bert_jax.text.tokenizer_files import read_tokenizer, write_tokenizer
from bert_jax.whole_file import whole_folder


def is_huggingface(directory: Path) -> bool:
    """Whether a directory has a config.json; its weights may still be of a kind we refuse."""
    return (directory / "config.json").is_file()


def load_huggingface(
    root: Path, embeddings_only: bool = False, splitting: str | None = None
) -> Pretrained:
    """Read a Hugging Face directory; see `load_pretrained`.

    Raises:
        UserError: no weights that are read, or weights that do not fit the configuration.
    """
    directory = model_folder(root)
    config = BertConfig.from_json(directory / "config.json")
    file = open_weights(directory)
    params, notes = read_params(file, config, EMBEDDINGS if embeddings_only else EVERYTHING)
    content = read_json_object(directory / "config.json")
    check_members(content, {"architectures": list}, directory / "config.json")
    stated = next(iter(content.get("architectures") or ()), None)
    tokenizer, more = read_tokenizer(directory, splitting)
    architecture = architecture_of(params, stated)
    labels, said = _labels(content, params)
    sentences = read_sentence_encoder(root, directory)
    if tokenizer is not None and wants_lower_case(directory):
        tokenizer = in_lower_case(tokenizer)
    if sentences is not None and sentences.not_obeyed:
        said = (*said, f"sentence vectors need {', '.join(sentences.not_obeyed)}, not known here")
    problem = content.get("problem_type")
    return Pretrained(
        config=config,
        params=params,
        architecture=architecture,
        labels=labels,
        problem_type=None if problem is None else str(problem),
        sentences=sentences,
        tokenizer=tokenizer,
        card=_text(root / CARD),
        notes=(*notes, *more, *said),
    )


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def _labels(content: dict[str, Any], params: Parameters) -> tuple[Names, Names]:
    """The class names of a classifier, and what there is to say about them."""
    if "classifier" not in params:
        return (), ()
    return class_names(content, params["classifier"]["kernel"].shape[1])


def save_huggingface(
    pretrained: Pretrained, directory: str | os.PathLike[str], *, overwrite: bool = False
) -> tuple[str, ...]:
    """Write a directory that `AutoModel….from_pretrained` opens, whole or not at all.

    Returns:
        Notes: what was left out.

    Raises:
        UserError: see `files.new_directory`.
    """
    architecture, notes = pretrained.architecture, [*pretrained.without_task()]
    params, sentences = pretrained.params, pretrained.sentences
    has, known = parts_of(params), PARTS[architecture]
    if "pooler" in has - known:
        params = {**params, "bert": {k: v for k, v in params["bert"].items() if k != "pooler"}}
        notes.append(f"left out: the pooler, which Hugging Face's {architecture} does not have")
    if "pooler" in known - has:
        notes.append("there is no pooler, and transformers will make one up")
    arrays, _ = named_arrays(params, pretrained.config, "huggingface")
    if architecture == "BertModel":
        arrays = {name.removeprefix("bert."): array for name, array in arrays.items()}
    with whole_folder(directory, overwrite=overwrite) as partial:
        if pretrained.card is not None:
            card = pretrained.card.encode("utf-8", "backslashreplace")  # of a file's name
            (partial / CARD).write_bytes(card)
        write_safetensors(partial / WEIGHTS, arrays, {"format": "pt"})
        content = json.dumps(_config(pretrained), indent=2, ensure_ascii=False)
        (partial / "config.json").write_bytes(f"{content}\n".encode("utf-8", "backslashreplace"))
        positions = pretrained.config.max_position_embeddings
        if pretrained.tokenizer is not None:
            write_tokenizer(pretrained.tokenizer, partial, positions)
        if sentences is not None and not sentences.not_obeyed:
            write_sentence_encoder(sentences, partial, pretrained.config.hidden_size, positions)
    return tuple(notes)


def _config(pretrained: Pretrained) -> dict[str, Any]:
    content = {
        "architectures": [pretrained.architecture],
        **pretrained.config.to_dict(),
        "dtype": "float32",
    }
    many_classes = ("BertForSequenceClassification", "BertForTokenClassification")
    if pretrained.architecture in many_classes:
        count = pretrained.params["classifier"]["kernel"].shape[1]
        names = dict(enumerate(pretrained.labels or numbered_names(count)))
        content["id2label"] = {str(i): name for i, name in names.items()}
        content["label2id"] = {name: i for i, name in names.items()}
    if pretrained.architecture == "BertForSequenceClassification":
        usual = "regression" if count == 1 else "single_label_classification"
        content["problem_type"] = pretrained.problem_type or usual
    return content
