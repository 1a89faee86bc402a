"""Classification and regression of a text, or of a pair of texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from bert_jax.errors import UserError
from bert_jax.tasks.features import NO_LABEL, Features, from_arrays
from bert_jax.tasks.heads import CLASSIFICATION, REGRESSION, Head
from bert_jax.tasks.labels import label_ids, label_numbers
from bert_jax.tasks.scores import CLASSIFICATION as CLASS_SCORES
from bert_jax.tasks.scores import REGRESSION as VALUE_SCORES
from bert_jax.tasks.scores import score
from bert_jax.tasks.tables import Table
from bert_jax.tasks.task import softmax
from bert_jax.tasks.text_features import TextFeatures, text_features
from bert_jax.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class TextExample:
    """A text, perhaps a second one, and its label as it stands in the data (None: unknown)."""

    text: str
    pair: str | None
    label: Any
    source: str
    line: int


def text_examples(
    table: Table, text_column: str, pair_column: str | None, label_column: str | None
) -> list[TextExample]:
    """Take texts and labels out of a table.

    Raises:
        UserError: a column is not there, or holds no texts, or a label is missing.
    """
    texts = table.texts(text_column, "text_column")
    pairs = table.texts(pair_column, "text_pair_column") if pair_column else [None] * len(table)
    labels = table.column(label_column, "label_column") if label_column else [None] * len(table)
    for label, line in zip(labels, table.lines, strict=True):
        if label_column and label is None:
            raise UserError(f"{table.source}, line {line}: got no {label_column}; expected a label")
    return [
        TextExample(text, pair, label, table.source, line)
        for text, pair, label, line in zip(texts, pairs, labels, table.lines, strict=True)
    ]


class _TextTask:
    """What both have in common."""

    max_length: int

    def restored(self, arrays: dict[str, np.ndarray]) -> TextFeatures:
        """See `Task`."""
        return TextFeatures(Features(**from_arrays(arrays, "features")))

    def calibrated(
        self, examples: Sequence[TextExample], prepared: TextFeatures, logits: np.ndarray
    ) -> Self:
        """See `Task`: nothing is to be chosen."""
        return self

    def _features(
        self, examples: Sequence[TextExample], labels: np.ndarray, tokenizer: Tokenizer
    ) -> TextFeatures:
        texts = [example.text for example in examples]
        pairs = [example.pair for example in examples if example.pair is not None]
        return text_features(texts, pairs or None, labels, tokenizer, self.max_length)


@dataclass(frozen=True)
class Classification(_TextTask):
    """One of several classes."""

    labels: tuple[str, ...]
    max_length: int
    score_names: tuple[str, ...] = CLASS_SCORES

    @property
    def head(self) -> Head:
        """See `Task`."""
        return CLASSIFICATION

    @property
    def settings(self) -> dict[str, Any]:
        """See `Task`."""
        return {"task": "classification", "max_length": self.max_length}

    def prepare(self, examples: Sequence[TextExample], tokenizer: Tokenizer) -> TextFeatures:
        """See `Task`; raises `UserError` for a label that is none of `labels`."""
        return self._features(examples, self._ids(examples), tokenizer)

    def scores(
        self, examples: Sequence[TextExample], prepared: TextFeatures, logits: np.ndarray
    ) -> dict[str, float]:
        """See `Task`."""
        return score(self.score_names, logits.argmax(axis=-1), prepared.features.labels)

    def predictions(
        self, examples: Sequence[TextExample], prepared: TextFeatures, logits: np.ndarray
    ) -> Iterator[dict[str, Any]]:
        """See `Task`: the class, and the probability of each."""
        for example, probabilities in zip(examples, softmax(logits), strict=True):
            scores = dict(zip(self.labels, map(float, probabilities), strict=True))
            yield {
                **_shown(example),
                "label": self.labels[int(probabilities.argmax())],
                "scores": scores,
            }

    def _ids(self, examples: Sequence[TextExample]) -> np.ndarray:
        ids = np.full(len(examples), NO_LABEL, np.int32)
        known = [i for i, example in enumerate(examples) if example.label is not None]
        ids[known] = label_ids(
            [examples[i].label for i in known],
            self.labels,
            examples[0].source if examples else "",
            [examples[i].line for i in known],
        )
        return ids


@dataclass(frozen=True)
class Regression(_TextTask):
    """A number."""

    max_length: int
    score_names: tuple[str, ...] = VALUE_SCORES

    @property
    def labels(self) -> tuple[str, ...]:
        """See `Task`."""
        return ()

    @property
    def head(self) -> Head:
        """See `Task`."""
        return REGRESSION

    @property
    def settings(self) -> dict[str, Any]:
        """See `Task`."""
        return {"task": "regression", "max_length": self.max_length}

    def prepare(self, examples: Sequence[TextExample], tokenizer: Tokenizer) -> TextFeatures:
        """See `Task`; raises `UserError` for a label that is no number."""
        known = [example for example in examples if example.label is not None]
        values = np.zeros(len(examples), np.float32)
        if known:
            values[[example.label is not None for example in examples]] = label_numbers(
                [example.label for example in known],
                known[0].source,
                [example.line for example in known],
            )
        return self._features(examples, values, tokenizer)

    def scores(
        self, examples: Sequence[TextExample], prepared: TextFeatures, logits: np.ndarray
    ) -> dict[str, float]:
        """See `Task`."""
        return score(self.score_names, logits[:, 0], prepared.features.labels)

    def predictions(
        self, examples: Sequence[TextExample], prepared: TextFeatures, logits: np.ndarray
    ) -> Iterator[dict[str, Any]]:
        """See `Task`: the number."""
        for example, value in zip(examples, logits[:, 0], strict=True):
            yield {**_shown(example), "value": float(value)}


def _shown(example: TextExample) -> dict[str, Any]:
    pair = {} if example.pair is None else {"pair": example.pair}
    truth = {} if example.label is None else {"truth": example.label}
    return {"text": example.text, **pair, **truth}
