"""Classification of a text, or of a pair of texts: one of several classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar, Self

import numpy as np

from bert_jax.convert.contents import Pretrained
from bert_jax.errors import UserError
from bert_jax.model.task_heads import BertForSequenceClassification
from bert_jax.tasks.examples import Remark
from bert_jax.tasks.features import NO_LABEL
from bert_jax.tasks.heads import Head, class_sums, output_logits, sequence_labels
from bert_jax.tasks.label_counts import taken_together
from bert_jax.tasks.labels import label_ids, label_key, label_names, wanted_label
from bert_jax.tasks.report import Confusion, Mistake, Mistakes, Shown
from bert_jax.tasks.scores import score
from bert_jax.tasks.task import class_names, count_scores, softmax
from bert_jax.tasks.texts import (
    TextExample,
    TextFeatures,
    TextTask,
    check_labels,
    shown_example,
)
from bert_jax.text.tokenizer import Tokenizer

HEAD = Head(
    "BertForSequenceClassification", BertForSequenceClassification, sequence_labels, output_logits,
    class_sums, problem_type="single_label_classification",
)  # fmt: skip


@dataclass(frozen=True)
class Classification(TextTask):
    """One of several classes."""

    labels: tuple[str, ...]
    max_length: int
    score_names: tuple[str, ...] = ("accuracy", "macro_f1", "matthews")

    name: ClassVar[str] = "classification"
    head: ClassVar[Head] = HEAD

    @classmethod
    def of_examples(
        cls,
        parts: Mapping[str, list[TextExample]],
        max_length: int,
        window_overlap: int | None = None,
    ) -> Self:
        """See `Task`: the classes are those of the training part, at least two.

        Raises:
            UserError: an example of any part whose label is not one, or there is only one class.
        """
        check_labels(parts, lambda label: label_key(label) is not None, wanted_label)
        labels = label_names(example.label for example in parts["train"])
        if len(labels) < 2:
            source = parts["train"][0].source
            raise UserError(
                f"got the label {labels[0]!r} only in {source}; expected at least two classes"
            )
        return cls(labels, max_length)

    @classmethod
    def fits(cls, pretrained: Pretrained) -> bool:
        """See `Task`."""
        return HEAD.is_of(pretrained) and count_scores(pretrained) != 1

    @classmethod
    def of_checkpoint(cls, pretrained: Pretrained, settings: Mapping[str, Any]) -> Self:
        """See `Task`."""
        return cls(class_names(pretrained), **settings)

    @property
    def settings(self) -> dict[str, Any]:
        """See `Task`."""
        return {"max_length": self.max_length}

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
                **shown_example(example),
                "label": self.labels[int(probabilities.argmax())],
                "scores": scores,
            }

    def remarks(self, parts: Mapping[str, list[TextExample]]) -> list[Remark]:
        """See `Task`: labels that are spelled in several ways."""
        return taken_together(type(self), chain(*parts.values()))

    def given_labels(self, examples: Sequence[TextExample]) -> list[str]:
        """See `Task`."""
        return [self.labels[number] for number in self._ids(examples)]

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

    def shown(self, predictions: Sequence[dict[str, Any]]) -> list[Shown]:
        """See `Task`: how often classes are taken for one another, and the mistakes."""
        names = {label_key(name): name for name in self.labels}
        truth = [names.get(label_key(row["truth"]), "") for row in predictions]
        return [
            Confusion(truth, [row["label"] for row in predictions]),
            Mistakes(
                [
                    Mistake(
                        row["scores"][row["label"]], row["text"], row.get("pair", ""), true,
                        row["label"],
                    )
                    for row, true in zip(predictions, truth, strict=True)
                    if true != row["label"]
                ]
            ),
        ]  # fmt: skip
