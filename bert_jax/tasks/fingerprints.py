"""What a fine-tuning run is made from, as hashes: a path may hold other examples tomorrow."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from bert_jax.convert.contents import Pretrained
from bert_jax.text.vocabulary_record import text_settings

_PLACES = {"source", "line", "lines"}  # where an example stands, and not what it is
Contents = dict[str, dict[str, int | str]]


def contents(parts: Mapping[str, Sequence[Any]], pretrained: Pretrained) -> Contents:
    """How many examples each part has and a hash of each of their fields; the same of a model.

    {"train": {"examples": 96, "text": "5f0c…", "label": "9d31…"}, …, "checkpoint": {"weights": …}}
    """
    found: Contents = {part: _of_examples(examples) for part, examples in parts.items()}
    return {**found, "checkpoint": _of_model(pretrained)}


def fingerprint(examples: Any) -> str:
    """A hash of examples, or of anything whose `repr` says what it is."""
    return hashlib.sha256(repr(_ordered(examples)).encode()).hexdigest()


def _of_examples(examples: Sequence[Any]) -> dict[str, int | str]:
    names = [f.name for f in dataclasses.fields(examples[0]) if f.name not in _PLACES]
    fields = {name: fingerprint([getattr(each, name) for each in examples]) for name in names}
    return {"examples": len(examples), **fields}


def _of_model(pretrained: Pretrained) -> dict[str, int | str]:
    tokenizer = pretrained.tokenizer
    weights = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(pretrained.params):
        weights.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}".encode())
        weights.update(np.ascontiguousarray(leaf).data.cast("B"))
    return {
        "weights": weights.hexdigest(),
        "config": fingerprint(json.dumps(pretrained.config.to_dict(), sort_keys=True)),
        "labels": fingerprint(pretrained.labels),
        "vocabulary": fingerprint(tokenizer and (tokenizer.vocab_hash, text_settings(tokenizer))),
    }


def _ordered(value: Any) -> Any:
    """The same with sets in order, which differs from process to process."""
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if isinstance(value, list):
        return [_ordered(each) for each in value]
    if type(value) is tuple:
        return tuple(_ordered(each) for each in value)
    return {k: _ordered(v) for k, v in value.items()} if type(value) is dict else value
