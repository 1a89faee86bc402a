"""Similarity of two texts: the cosine of their mean-pooled vectors, as Sentence-BERT has it.

    scored pairs      (cosine - score)², scores from 0 to 1
    pairs alone       each text against the second texts of the batch, of which its own is right

Reimers & Gurevych 2019 (https://arxiv.org/abs/1908.10084), section 3; for pairs alone the
"multiple negatives" of Henderson et al. 2017 (https://arxiv.org/abs/1705.00652), section 4.4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.convert.contents import Pretrained
from bert_jax.data.row_layout import Batch, Rows
from bert_jax.errors import UserError
from bert_jax.model.task_heads import BertForSentenceEmbedding
from bert_jax.pooling import unit_length
from bert_jax.tasks.examples import Columns, Source, in_memory, table_of
from bert_jax.tasks.features import Features, features_of
from bert_jax.tasks.heads import Head, Sums
from bert_jax.tasks.labels import label_numbers
from bert_jax.tasks.lines import Line, LineError
from bert_jax.tasks.report import Mistake, Mistakes, Points, Shown
from bert_jax.tasks.scores import score
from bert_jax.tasks.texts import (
    TextExample,
    TextFeatures,
    TextTask,
    shown_example,
    text_examples,
)
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.training.sharding import DeviceBatch

_SHARPNESS = 20.0  # what cosines are multiplied by before a softmax over a batch
_ROWS = 1024  # of cosines of all against all, at a time


def pair_labels(features: Features, rows: Rows, unit_size: int) -> Batch:
    """`labels` and `scored` [B, 1], and `weights` [B, 1], 1 at the first text of each pair.

    Two rows in turn are a pair; `scored` is 0 where nobody said how alike they are.
    """
    present = rows.sequences >= 0
    labels = np.where(present, features.labels[rows.sequences], 0)
    first = (np.arange(len(present)) % unit_size == 0)[:, None]
    return {
        "labels": np.nan_to_num(labels),
        "scored": (~np.isnan(labels)).astype(np.float32),
        "weights": (present & first).astype(np.float32),
    }


def pair_sums(
    vectors: jax.Array, batch: DeviceBatch, unit_size: int, class_weights: jax.Array | None
) -> Sums:
    """Squared errors of cosines, or cross entropy over the batch: vectors [2 · pairs, 1, D]."""
    del class_weights
    width = vectors.shape[-1]
    directions = unit_length(vectors.astype(jnp.float32)).reshape(-1, unit_size, width)
    labels, scored, weights = (
        batch[name].reshape(-1, unit_size)[:, 0] for name in ("labels", "scored", "weights")
    )
    first, second = directions[:, 0], directions[:, 1]
    precision = jax.lax.Precision.HIGHEST
    errors = jnp.square(jnp.einsum("nd,nd->n", first, second, precision=precision) - labels)
    candidate = weights * (1.0 - scored)
    cosines = jnp.einsum("nd,md->nm", first, second, precision=precision)
    logits = jnp.where(candidate > 0, _SHARPNESS * cosines, jnp.finfo(jnp.float32).min)
    nats = jax.nn.logsumexp(logits, axis=-1) - _SHARPNESS * jnp.diagonal(cosines)
    each = jnp.where(scored > 0, errors, jnp.where(candidate > 0, nats, 0.0))
    return {"nats": jnp.sum(each * weights), "weight": jnp.sum(weights)}


# At Hugging Face a sentence encoder is a BertModel, whose vectors others take the mean of.
HEAD = Head(
    "BertModel", BertForSentenceEmbedding, pair_labels, lambda output: output.sentence_embeddings,
    pair_sums, scores=0, sized=False,
)  # fmt: skip


@dataclass(frozen=True)
class Similarity(TextTask):
    """How similar two texts are.

    `lowest` and `highest` score of the training part stand for cosines of 0 and 1; None where its
    pairs have no scores.
    """

    max_length: int
    lowest: float | None = None
    highest: float | None = None

    name: ClassVar[str] = "similarity"
    head: ClassVar[Head] = HEAD
    labels: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def read(cls, source: Source, columns: Columns) -> list[TextExample]:
        """See `Task`; columns are called text, pair and, where there are scores, label."""
        rows = in_memory(source)
        if rows is not None and isinstance(rows[0], TextExample):
            return list(rows)
        usual: tuple[str, ...] = ("text", "pair", "label")
        if rows is not None and not isinstance(rows[0], Mapping):
            usual = usual[: len(rows[0])]
        table = table_of(source, columns.columns, usual)
        label = columns.label_column or ("label" if "label" in table.columns else None)
        text, pair = columns.text_column or "text", columns.text_pair_column or "pair"
        return text_examples(table, text, pair, label)

    @classmethod
    def example(cls, line: Line, columns: Columns | None) -> TextExample:
        """See `Task`: two texts with a tab between them, or an object with text and pair."""
        found = super().example(line, _paired(columns))
        if found.pair is None:
            raise line.wrong(f"got the one text {found.text!r}; expected two, to be compared")
        return found

    @classmethod
    def lines(cls, path: str | Path, columns: Columns | None) -> Iterator[Line | LineError]:
        """See `Task`: the rows of a table."""
        return super().lines(path, _paired(columns))

    @classmethod
    def of_examples(
        cls,
        parts: Mapping[str, list[TextExample]],
        max_length: int,
        window_overlap: int | None = None,
    ) -> Self:
        """See `Task`: what scores stand for a cosine of 0 and of 1."""
        train = [example for example in parts["train"] if example.label is not None]
        if not train:
            return cls(max_length)
        scores = _scores(train)
        lowest, highest = float(scores.min()), float(scores.max())
        if lowest == highest:
            raise UserError(
                f"got the score {lowest:g} only in {train[0].source}; expected at least two"
            )
        return cls(max_length, lowest, highest)

    @classmethod
    def fits(cls, pretrained: Pretrained) -> bool:
        """See `Task`: a sentence encoder whose vectors are made as they are learned here."""
        says = pretrained.sentences
        return pretrained.architecture == HEAD.architecture and says is not None and says.is_mean

    @classmethod
    def of_checkpoint(cls, pretrained: Pretrained, settings: Mapping[str, Any]) -> Self:
        """See `Task`; texts are no longer than the encoder says."""
        longest = settings["max_length"]
        if pretrained.sentences is not None:
            longest = min(longest, pretrained.sentences.max_length or longest)
        return cls(**{**settings, "max_length": longest})

    @property
    def settings(self) -> dict[str, Any]:
        """See `Task`."""
        return {"max_length": self.max_length, "lowest": self.lowest, "highest": self.highest}

    def prepare(self, examples: Sequence[TextExample], tokenizer: Tokenizer) -> TextFeatures:
        """See `Task`: both texts of a pair, each a sequence; labels from 0 to 1, or NaN."""
        texts = [text for example in examples for text in (example.text, example.pair or "")]
        labels = np.full(len(examples), np.nan, np.float32)
        scored = [i for i, example in enumerate(examples) if example.label is not None]
        if scored:
            span = self._span
            scores = _scores([examples[i] for i in scored])
            labels[scored] = (scores - span[0]) / (span[1] - span[0])
        encodings = tokenizer.encode_batch(texts, None, self.max_length)
        return TextFeatures(features_of(encodings, np.repeat(labels, 2), [2] * len(examples)))

    def scores(
        self, examples: Sequence[TextExample], prepared: TextFeatures, logits: np.ndarray
    ) -> dict[str, float]:
        """See `Task`: rank correlation with the scores; without them, what is found again."""
        labels = prepared.features.labels[::2]
        scored = ~np.isnan(labels)
        if scored.any():
            names = ("spearman", "pearson", "negative_mean_square")
            return score(names, _cosines(logits)[scored], labels[scored])
        ranks = own_ranks(logits[::2], logits[1::2])
        return {
            "mean_reciprocal_rank": float(np.mean(1 / ranks)),
            "accuracy": float(np.mean(ranks == 1)),
        }

    def predictions(
        self, examples: Sequence[TextExample], prepared: TextFeatures, logits: np.ndarray
    ) -> Iterator[dict[str, Any]]:
        """See `Task`: the cosine, and the score that it stands for."""
        for example, cosine in zip(examples, map(float, _cosines(logits)), strict=True):
            value = {}
            if self.lowest is not None and self.highest is not None:
                value = {"value": self.lowest + (self.highest - self.lowest) * cosine}
            yield {**shown_example(example, of_numbers=True), "cosine": cosine, **value}

    def shown(self, predictions: Sequence[dict[str, Any]]) -> list[Shown]:
        """See `Task`: cosines against scores, and the largest errors."""
        low, high = self._span
        scored = [row for row in predictions if "truth" in row]
        if not scored:
            return []
        values = [(row["truth"], low + (high - low) * row["cosine"]) for row in scored]
        errors = [
            Mistake(abs(true - value), row["text"], row["pair"], f"{true:g}", f"{value:.2f}")
            for row, (true, value) in zip(scored, values, strict=True)
        ]
        return [Points(values), Mistakes(errors, title="Largest errors", measure="error")]

    @property
    def _span(self) -> tuple[float, float]:
        """The scores that stand for 0 and 1."""
        low, high = self.lowest, self.highest
        return (0.0, 1.0) if low is None or high is None else (low, high)


def own_ranks(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Which place each row's own partner has among all, from 1; int64 [n].

    Args:
        first, second: [n, D]; row i of both is a pair. Places go by cosine, ties to the partner.
    """
    first, second = _directions(first), _directions(second)
    ranks = []
    for begin in range(0, len(first), _ROWS):
        cosines = first[begin : begin + _ROWS] @ second.T
        own = np.take_along_axis(cosines, np.arange(begin, begin + len(cosines))[:, None], axis=1)
        ranks.append(1 + (cosines > own + 1e-12).sum(axis=1))
    return np.concatenate(ranks)


def _directions(vectors: np.ndarray) -> np.ndarray:
    """Vectors [n, D] of length 1, float64; zeros stay zeros."""
    vectors = vectors.astype(np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _cosines(vectors: np.ndarray) -> np.ndarray:
    """Of the first and second text of each pair: vectors [2 n, D] -> float64 [n]."""
    directions = _directions(vectors)
    return np.einsum("nd,nd->n", directions[::2], directions[1::2])


def _scores(examples: Sequence[TextExample]) -> np.ndarray:
    values = [example.label for example in examples]
    return label_numbers(values, examples[0].source, [example.line for example in examples])


def _paired(columns: Columns | None) -> Columns:
    """The columns, of which there is always a second text."""
    known = columns or Columns()
    return replace(known, text_pair_column=known.text_pair_column or "pair")
