"""Tagging as a task: entities, parts of speech, any label a word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np

from bert_jax.tasks.entities import entity_f1, has_entities
from bert_jax.tasks.features import NO_LABEL, Features, from_arrays
from bert_jax.tasks.heads import TAGGING, Head
from bert_jax.tasks.labels import label_ids
from bert_jax.tasks.tagged_files import TaggedSentence
from bert_jax.tasks.tagging import TagFeatures, tag_features
from bert_jax.tasks.task import softmax
from bert_jax.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Tagging:
    """A label for each word. Measured by entities where the labels mark such, else by words."""

    labels: tuple[str, ...]
    max_length: int
    source: str = "the data"

    @property
    def head(self) -> Head:
        """See `Task`."""
        return TAGGING

    @property
    def settings(self) -> dict[str, Any]:
        """See `Task`."""
        return {"task": "tagging", "max_length": self.max_length}

    def prepare(self, examples: Sequence[TaggedSentence], tokenizer: Tokenizer) -> TagFeatures:
        """See `Task`; raises `UserError` for a tag that is none of `labels`."""
        words = sum(len(sentence.words) for sentence in examples)
        ids = np.full(words, NO_LABEL, np.int32)
        tags = [tag for sentence in examples for tag in sentence.tags]
        if tags:
            lines = [line for sentence in examples for line in sentence.lines]
            ids = label_ids(tags, self.labels, self.source, lines)
        return tag_features([s.words for s in examples], ids, tokenizer, self.max_length)

    def restored(self, arrays: dict[str, np.ndarray]) -> TagFeatures:
        """See `Task`."""
        return TagFeatures(Features(**from_arrays(arrays, "features")), **from_arrays(arrays))

    def calibrated(
        self, examples: Sequence[TaggedSentence], prepared: TagFeatures, logits: np.ndarray
    ) -> Self:
        """See `Task`: nothing is to be chosen."""
        return self

    def scores(
        self, examples: Sequence[TaggedSentence], prepared: TagFeatures, logits: np.ndarray
    ) -> dict[str, float]:
        """See `Task`: F1 of entities and accuracy of words, or the latter alone."""
        at_words = logits[prepared.words].argmax(axis=-1)
        accuracy = float(np.mean(at_words == prepared.features.labels[prepared.words]))
        if not has_entities(self.labels):
            return {"accuracy": accuracy}
        predicted = self._tags(examples, at_words)
        found = entity_f1(predicted, [sentence.tags for sentence in examples])["all"]
        return {
            "entity_f1": found.f1,
            "entity_precision": found.precision,
            "entity_recall": found.recall,
            "accuracy": accuracy,
        }

    def predictions(
        self, examples: Sequence[TaggedSentence], prepared: TagFeatures, logits: np.ndarray
    ) -> Iterator[dict[str, Any]]:
        """See `Task`: the tag of each word, and its probability."""
        probabilities = softmax(logits[prepared.words])
        best = probabilities.argmax(axis=-1)
        sure = probabilities.max(axis=-1)
        ends = np.cumsum([0, *(len(sentence.words) for sentence in examples)])
        tags = self._tags(examples, best)
        for sentence, mine, (begin, end) in zip(examples, tags, pairwise(ends), strict=True):
            truth = {"truth": list(sentence.tags)} if sentence.tags else {}
            yield {
                "words": list(sentence.words),
                **truth,
                "tags": mine,
                "scores": sure[begin:end].tolist(),
            }

    def _tags(self, examples: Sequence[TaggedSentence], ids: np.ndarray) -> list[list[str]]:
        names = iter([self.labels[i] for i in ids])
        return [[next(names) for _ in sentence.words] for sentence in examples]
