"""Regression on a text, or a pair of texts: a number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.convert.contents import Pretrained
from bert_jax.model.task_heads import BertForSequenceClassification
from bert_jax.tasks.heads import Head, Sums, output_logits, sequence_labels
from bert_jax.tasks.labels import is_number, label_numbers, wanted_number
from bert_jax.tasks.report import Mistake, Mistakes, Points, Shown
from bert_jax.tasks.scores import score
from bert_jax.tasks.task import count_scores
from bert_jax.tasks.texts import (
    TextExample,
    TextFeatures,
    TextTask,
    check_labels,
    shown_example,
)
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.training.sharding import DeviceBatch


def value_sums(
    logits: jax.Array, batch: DeviceBatch, unit_size: int, class_weights: jax.Array | None
) -> Sums:
    """Squared errors of a regression: logits [B, I, 1], labels and weights [B, I]."""
    del unit_size, class_weights
    errors = jnp.square(logits[..., 0].astype(jnp.float32) - batch["labels"])
    return {"nats": jnp.sum(errors * batch["weights"]), "weight": jnp.sum(batch["weights"])}


HEAD = Head(
    "BertForSequenceClassification", BertForSequenceClassification, sequence_labels, output_logits,
    value_sums, scores=1, problem_type="regression",
)  # fmt: skip


@dataclass(frozen=True)
class Regression(TextTask):
    """A number."""

    max_length: int
    score_names: tuple[str, ...] = ("pearson", "spearman", "negative_mean_square")

    name: ClassVar[str] = "regression"
    head: ClassVar[Head] = HEAD
    labels: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def of_examples(
        cls,
        parts: Mapping[str, list[TextExample]],
        max_length: int,
        window_overlap: int | None = None,
    ) -> Self:
        """See `Task`; raises `UserError` for a label that is no number."""
        check_labels(parts, is_number, wanted_number)
        return cls(max_length)

    @classmethod
    def fits(cls, pretrained: Pretrained) -> bool:
        """See `Task`."""
        return HEAD.is_of(pretrained) and count_scores(pretrained) == 1

    @classmethod
    def of_checkpoint(cls, pretrained: Pretrained, settings: Mapping[str, Any]) -> Self:
        """See `Task`."""
        return cls(**settings)

    @property
    def settings(self) -> dict[str, Any]:
        """See `Task`."""
        return {"max_length": self.max_length}

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
            yield {**shown_example(example, of_numbers=True), "value": float(value)}

    def shown(self, predictions: Sequence[dict[str, Any]]) -> list[Shown]:
        """See `Task`: predicted against true values, and the largest errors."""
        return [
            Points([(row["truth"], row["value"]) for row in predictions]),
            Mistakes(
                [
                    Mistake(
                        abs(row["truth"] - row["value"]), row["text"], row.get("pair", ""),
                        f"{row['truth']:g}", f"{row['value']:.2f}",
                    )
                    for row in predictions
                ],
                title="Largest errors",
                measure="error",
            ),
        ]  # fmt: skip
