"""Multi-label classification: any number of classes, each a yes or a no of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit

from bert_jax.convert.contents import Pretrained
from bert_jax.data.row_layout import Batch, Rows
from bert_jax.errors import UserError
from bert_jax.model.task_heads import BertForSequenceClassification
from bert_jax.tasks.examples import Columns, Remark, Source, in_memory
from bert_jax.tasks.features import Features
from bert_jax.tasks.heads import Head, Sums, output_logits
from bert_jax.tasks.label_counts import taken_together
from bert_jax.tasks.label_sets import label_set, label_sets, labels_there, set_names
from bert_jax.tasks.labels import label_ids
from bert_jax.tasks.report import LabelSets, Mistake, Mistakes, Shown
from bert_jax.tasks.task import class_names
from bert_jax.tasks.texts import TextExample, TextFeatures, TextTask, shown_example
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.training.sharding import DeviceBatch


def set_labels(features: Features, rows: Rows, unit_size: int = 1) -> Batch:
    """`labels` [B, I, C] of 0 and 1, with `weights` [B, I] 0 at empty places."""
    del unit_size
    present = rows.sequences >= 0
    return {
        "labels": features.labels[rows.sequences] * present[..., None].astype(np.float32),
        "weights": present.astype(np.float32),
    }


def set_sums(
    logits: jax.Array, batch: DeviceBatch, unit_size: int, class_weights: jax.Array | None
) -> Sums:
    """Mean over the classes of their binary cross entropies: logits and labels [B, I, C].

    As torch's `BCEWithLogitsLoss`, of which class weights are the `pos_weight`: how much an example
    that has the class weighs against one that has not.
    """
    del unit_size
    scores, labels, weights = logits.astype(jnp.float32), batch["labels"], batch["weights"]
    there = jax.nn.softplus(-scores) * labels
    there = there if class_weights is None else there * class_weights
    nats = jnp.mean(there + jax.nn.softplus(scores) * (1.0 - labels), axis=-1)
    return {"nats": jnp.sum(nats * weights), "weight": jnp.sum(weights)}


def even_odds(counts: np.ndarray, examples: int) -> np.ndarray:
    """Weights [C] by which the examples with each class weigh as much as those without it."""
    return np.maximum(examples - counts, 1) / np.maximum(counts, 1)


HEAD = Head(
    "BertForSequenceClassification", BertForSequenceClassification, set_labels, output_logits,
    set_sums, problem_type="multi_label_classification", balance=even_odds,
)  # fmt: skip


@dataclass(frozen=True)
class MultiLabel(TextTask):
    """Any number of classes: those whose probability is above the threshold."""

    labels: tuple[str, ...]
    max_length: int
    threshold: float = 0.5

    name: ClassVar[str] = "multi_label"
    head: ClassVar[Head] = HEAD
    options: ClassVar[frozenset[str]] = TextTask.options | {"label_columns", "label_delimiter"}

    @classmethod
    def read(cls, source: Source, columns: Columns) -> list[TextExample]:
        """See `Task`; labels as `label_sets` has them."""
        found, rows = super().read(source, columns), in_memory(source)
        if rows is None or not isinstance(rows[0], TextExample):
            return found
        between = columns.label_delimiter
        return [replace(e, label=label_set(e.label, between, e.source, e.line)) for e in found]

    @classmethod
    def labels_of(cls, table: Any, columns: Columns) -> list[Any]:
        """See `TextTask`."""
        return list(label_sets(table, columns))

    @classmethod
    def of_examples(
        cls,
        parts: Mapping[str, list[TextExample]],
        max_length: int,
        window_overlap: int | None = None,
    ) -> Self:
        """See `Task`: the classes are the columns, or the labels of the training part."""
        labels = set_names([example.label for example in parts["train"]])
        if not labels:
            raise UserError(
                f"got no labels in {parts['train'][0].source}; expected at least one in the"
                " training part"
            )
        return cls(labels, max_length)

    @classmethod
    def fits(cls, pretrained: Pretrained) -> bool:
        """See `Task`: config.json must say so, for the weights are those of a classification."""
        return HEAD.is_of(pretrained) and pretrained.problem_type is not None

    @classmethod
    def of_checkpoint(cls, pretrained: Pretrained, settings: Mapping[str, Any]) -> Self:
        """See `Task`; a threshold of 0.5 where none was chosen."""
        return cls(class_names(pretrained), **settings)

    @property
    def settings(self) -> dict[str, Any]:
        """See `Task`."""
        return {"max_length": self.max_length, "threshold": self.threshold}

    @classmethod
    def label_values(cls, example: TextExample) -> Sequence[Any]:
        """See `TextTask`."""
        return labels_there(example.label)

    def remarks(self, parts: Mapping[str, list[TextExample]]) -> list[Remark]:
        """See `Task`: labels that are spelled in several ways."""
        return taken_together(type(self), chain(*parts.values()))

    def given_labels(self, examples: Sequence[TextExample]) -> list[str]:
        """See `Task`."""
        return [name for example in examples for name in self._names(example)]

    def prepare(self, examples: Sequence[TextExample], tokenizer: Tokenizer) -> TextFeatures:
        """See `Task`; raises `UserError` for a label that is none of `labels`."""
        labels = np.zeros((len(examples), len(self.labels)), np.float32)
        for row, example in zip(labels, examples, strict=True):
            row[self._ids(example)] = 1.0
        return self._features(examples, labels, tokenizer)

    def calibrated(
        self, examples: Sequence[TextExample], prepared: TextFeatures, logits: np.ndarray
    ) -> Self:
        """See `Task`: the threshold with the highest micro F1."""
        return replace(self, threshold=best_threshold(_expit(logits), prepared.features.labels))

    def scores(
        self, examples: Sequence[TextExample], prepared: TextFeatures, logits: np.ndarray
    ) -> dict[str, float]:
        """See `Task`: F1 over all classes together, the mean of the classes' F1, and how many sets
        are right as a whole; a class that nobody sees, in truth or in error, has an F1 of 0.
        """
        said = _expit(logits) > self.threshold
        true = prepared.features.labels > 0
        both, either = (said & true).sum(axis=0), said.sum(axis=0) + true.sum(axis=0)
        return {
            "micro_f1": 2 * int(both.sum()) / max(int(either.sum()), 1),
            "macro_f1": float(np.mean(2 * both / np.maximum(either, 1))),
            "subset_accuracy": float((said == true).all(axis=-1).mean()),
        }

    def predictions(
        self, examples: Sequence[TextExample], prepared: TextFeatures, logits: np.ndarray
    ) -> Iterator[dict[str, Any]]:
        """See `Task`: the classes above the threshold, and the probability of each."""
        for example, probabilities in zip(examples, _expit(logits), strict=True):
            truth = {} if example.label is None else {"truth": self._names(example)}
            scores = dict(zip(self.labels, map(float, probabilities), strict=True))
            yield {
                **shown_example(replace(example, label=None)),
                **truth,
                "labels": [name for name, p in scores.items() if p > self.threshold],
                "scores": scores,
            }

    def shown(self, predictions: Sequence[dict[str, Any]]) -> list[Shown]:
        """See `Task`: how well each class is found, and the sets that are wrong."""
        true = Counter(name for row in predictions for name in row["truth"])
        said = Counter(name for row in predictions for name in row["labels"])
        both = Counter(n for row in predictions for n in set(row["truth"]) & set(row["labels"]))
        rows = []
        for name in self.labels:
            n, t, s = both[name], true[name], said[name]
            figures = n / max(s, 1), n / max(t, 1), 2 * n / max(s + t, 1)
            rows.append((name, str(t), str(s), *(f"{figure:.3f}" for figure in figures)))
        wrong = [
            Mistake(
                max(abs(row["scores"][n] - (n in row["truth"])) for n in missed), row["text"],
                row.get("pair", ""), ", ".join(row["truth"]), ", ".join(row["labels"]),
            )
            for row in predictions
            if (missed := set(row["truth"]) ^ set(row["labels"]))
        ]  # fmt: skip
        header = ("label", "true", "said", "precision", "recall", "F1")
        sets = [
            [", ".join(row[of]) or "no label" for row in predictions] for of in ("truth", "labels")
        ]
        return [
            LabelSets(header, rows, *sets),
            Mistakes(wrong, title="Most wrong", measure="off by"),
        ]

    def _ids(self, example: TextExample) -> list[int]:
        if example.label is None:
            return []
        names = labels_there(example.label)
        found = label_ids(names, self.labels, example.source, [example.line] * len(names))
        return sorted(set(found.tolist()))

    def _names(self, example: TextExample) -> list[str]:
        return [self.labels[number] for number in self._ids(example)]


def best_threshold(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The threshold above which saying yes gives the highest F1 over all classes together.

    Of several as good, the one nearest to 0.5; between two probabilities, 0.5 or their middle.

    >>> best_threshold(np.array([[0.9, 0.4], [0.3, 0.2]]), np.array([[1, 1], [0, 0]]))
    0.35

    Args:
        probabilities: [n, C].
        labels: [n, C], 1 where a class is there.
    """
    order = np.argsort(-probabilities, axis=None, kind="stable")
    descending, true = probabilities.ravel()[order], labels.ravel()[order] > 0
    if not true.any():
        return 0.5
    taken = np.arange(1, len(order) + 1)
    f1 = 2 * np.cumsum(true) / (taken + true.sum())
    below = np.append(descending[1:], 0.0)  # the highest of those that are not taken
    f1[descending <= below] = -1.0  # nothing lies between
    best = np.flatnonzero(f1 == f1.max())
    low, high = below[best], descending[best]
    middles = np.where((low <= 0.5) & (high > 0.5), 0.5, (low + high) / 2)
    return float(middles[np.argmin(np.abs(middles - 0.5))])


def _expit(logits: np.ndarray) -> np.ndarray:
    return expit(logits.astype(np.float64))
