"""Our own checkpoints: of a run, of its newest step, or of a conversion."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bert_jax.checkpoint_files import has_item, load_embeddings, load_json, load_params, save_params
from bert_jax.config import BertConfig
from bert_jax.convert.architectures import architecture_of
from bert_jax.convert.contents import Pretrained
from bert_jax.convert.sentence_encoders import SentenceEncoder
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.text.tokenizer_files import split_as
from bert_jax.text.vocabulary_record import tokenizer_from_record, vocabulary_record
from bert_jax.whole_file import whole_folder

_OF_TASK = ("settings", "columns")  # of `head`, as `tasks.kinds.head_item` has them


def load_ours(
    checkpoint: Path, embeddings_only: bool = False, splitting: str | None = None
) -> Pretrained:
    """Read one checkpoint, see `pretrained_paths.find_ours` and `load_pretrained`."""
    params = (
        {"bert": {"embeddings": load_embeddings(checkpoint)}}
        if embeddings_only
        else load_params(checkpoint)
    )
    head = load_json(checkpoint, "head") if has_item(checkpoint, "head") else {}
    tokenizer, notes = _tokenizer(checkpoint)
    if tokenizer is not None:
        tokenizer = split_as(splitting, tokenizer, str(checkpoint))
    return Pretrained(
        sentences=_sentences(head),
        config=BertConfig.from_dict(load_json(checkpoint, "config"), str(checkpoint)),
        params=params,
        architecture=architecture_of(params, head.get("architecture")),
        labels=tuple(head.get("labels", ())),
        origin=head.get("origin"),
        problem_type=head.get("problem_type"),
        tokenizer=tokenizer,
        task={name: head[name] for name in _OF_TASK if name in head},
        notes=notes,
    )


def _sentences(head: Mapping[str, Any]) -> SentenceEncoder | None:
    """How sentence vectors are made: as was kept, or as fine-tuning for similarity made them."""
    if (record := head.get("sentences")) is not None:
        return SentenceEncoder.from_record(record)
    # A task without an output layer of its own: there is one.
    if head.get("architecture") == "BertModel" and "settings" in head:
        return SentenceEncoder(max_length=head["settings"].get("max_length"))
    return None


def _tokenizer(checkpoint: Path) -> tuple[Tokenizer | None, tuple[str, ...]]:
    """The tokenizer of a checkpoint, or None and a note."""
    if not has_item(checkpoint, "vocabulary"):
        return None, ("no tokenizer: the checkpoint has no vocabulary",)
    return tokenizer_from_record(load_json(checkpoint, "vocabulary"), str(checkpoint)), ()


def save_ours(
    pretrained: Pretrained, directory: str | os.PathLike[str], *, overwrite: bool = False
) -> tuple[str, ...]:
    """Write `pretrained` as one checkpoint of ours, whole or not at all.

    Raises:
        UserError: see `files.new_directory`.
    """
    tokenizer, problem = pretrained.tokenizer, pretrained.problem_type
    sentences, notes = pretrained.sentences, []
    if sentences is not None and (sentences.layers or sentences.not_obeyed):
        sentences = None
        notes.append(
            "left out: how sentence vectors are made, since our form has no place for the modules"
            " over them"
        )
    with whole_folder(directory, overwrite=overwrite) as partial:
        partial.rmdir()  # orbax makes it
        save_params(
            partial,
            pretrained.params,
            config=pretrained.config.to_dict(),
            vocabulary=None if tokenizer is None else vocabulary_record(tokenizer),
            head={
                "architecture": pretrained.architecture,
                "labels": list(pretrained.labels),
                **({} if problem is None else {"problem_type": problem}),
                **({} if pretrained.origin is None else {"origin": pretrained.origin}),
                **pretrained.task,
                **({} if sentences is None else {"sentences": sentences.to_record()}),
            },
        )
    return tuple(notes)
