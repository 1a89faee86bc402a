"""Extractive question answering as a task: SQuAD 1.1 and 2.0."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.convert.contents import Pretrained
from bert_jax.data.row_layout import Batch, Rows
from bert_jax.model.task_heads import BertForQuestionAnswering
from bert_jax.tasks.examples import Cleaning, Columns, Remark, Source, in_memory, tfds_split
from bert_jax.tasks.features import Features, from_arrays
from bert_jax.tasks.heads import Head, Sums
from bert_jax.tasks.lines import Line, LineError
from bert_jax.tasks.question_answering.answers import Answered, find_answers
from bert_jax.tasks.question_answering.placing import place_answers, placing_remarks
from bert_jax.tasks.question_answering.squad import (
    Question,
    answer_scores,
    best_null_threshold,
    squad_scores,
)
from bert_jax.tasks.question_answering.squad_files import (
    question_lines,
    questions_of,
    read_squad,
    read_tfds_questions,
)
from bert_jax.tasks.question_answering.windows import WindowFeatures, window_features
from bert_jax.tasks.report import Mistake, Mistakes, Shown
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.training.sharding import DeviceBatch


def span_labels(features: Features, rows: Rows, unit_size: int = 1) -> Batch:
    """`first_labels` and `last_labels` [B, I], positions in the row, with `weights` [B, I]."""
    del unit_size
    begins, _ = rows.spans(features)
    present = rows.sequences >= 0
    spans = features.labels[rows.sequences] + begins[..., None]
    spans = np.where(present[..., None], spans, 0).astype(np.int32)
    return {
        "first_labels": spans[..., 0],
        "last_labels": spans[..., 1],
        "weights": present.astype(np.float32),
    }


def span_sums(
    logits: jax.Array, batch: DeviceBatch, unit_size: int, class_weights: jax.Array | None
) -> Sums:
    """Mean of the cross entropies of an answer's first and last token: logits [B, L, 2].

    The softmax goes over the tokens of the sequence itself, however many share its row.
    """
    del unit_size, class_weights
    weights = batch["weights"]  # [B, I]
    instances = jnp.arange(1, weights.shape[1] + 1, dtype=jnp.int32)
    own = batch["instance_ids"][:, None, :] == instances[:, None]  # [B, I, L]
    nats = jnp.zeros((), jnp.float32)
    hits = weights
    for end, labels in enumerate((batch["first_labels"], batch["last_labels"])):
        scores = jnp.where(own, logits[:, None, :, end], jnp.finfo(jnp.float32).min)
        at_label = jnp.take_along_axis(scores, labels[..., None], axis=-1)[..., 0]
        lost = jax.nn.logsumexp(scores, axis=-1) - at_label
        nats += jnp.sum(jnp.where(weights > 0, lost, 0.0) * weights) / 2
        hits *= at_label >= jnp.max(scores, axis=-1)
    count = jnp.sum(weights)
    return {"nats": nats, "weight": count, "hits": jnp.sum(hits), "count": count}


def _both_ends(output: Any) -> jax.Array:
    return jnp.stack([output.start_logits, output.end_logits], axis=-1)


HEAD = Head(
    "BertForQuestionAnswering", BertForQuestionAnswering, span_labels, _both_ends, span_sums,
    per_token=True, scores=2, sized=False,
)  # fmt: skip


@dataclass(frozen=True)
class QuestionAnswering:
    """An answer is a stretch of the context, or, as in SQuAD 2.0, there is none.

    Attributes:
        max_length: most tokens of a window.
        overlap: pieces that neighbouring windows share.
        may_have_none: whether "no answer" is an answer.
        null_threshold: the margin above which to say so; chosen by `calibrated`.
        max_answer_pieces: the most pieces of an answer.
    """

    max_length: int
    overlap: int
    may_have_none: bool = False
    null_threshold: float = 0.0
    max_answer_pieces: int = 30

    name: ClassVar[str] = "qa"
    head: ClassVar[Head] = HEAD
    labels: ClassVar[tuple[str, ...]] = ()
    endings: ClassVar[tuple[str, ...]] = (".json",)
    options: ClassVar[frozenset[str]] = frozenset({"bad_answers"})

    @classmethod
    def read(cls, source: Source, columns: Columns) -> list[Question]:
        """See `Task`: SQuAD's JSON, TFDS, or dicts in memory; see `questions_of`."""
        if (rows := in_memory(source)) is not None:
            return questions_of(rows)
        if (split := tfds_split(source)) is not None:
            return read_tfds_questions(*split)
        assert isinstance(source, str | Path)
        return read_squad(source)

    @classmethod
    def example(cls, line: Line, columns: Columns | None) -> Question:
        """See `Task`: an object with question and context."""
        if line.content is None:
            raise line.wanted('"question" and "context"')
        question, context = line.text("question"), line.text("context")
        return Question(str(line.content.get("id", line.number)), "", question, context, ())

    @classmethod
    def lines(cls, path: str | Path, columns: Columns | None) -> Iterator[Line | LineError]:
        """See `Task`: the questions of SQuAD's JSON."""
        return question_lines(path)

    @classmethod
    def cleaned(
        cls, parts: Mapping[str, list[Question]], how: Cleaning
    ) -> tuple[dict[str, list[Question]], list[Remark]]:
        """See `Task`: questions whose answers all stand in their contexts."""
        placed = {part: place_answers(asked, how.bad_answers) for part, asked in parts.items()}
        return {part: found.questions for part, found in placed.items()}, placing_remarks(placed)

    @classmethod
    def of_examples(
        cls, parts: Mapping[str, list[Question]], max_length: int, window_overlap: int | None = None
    ) -> Self:
        """See `Task`; windows share a third of their length unless it is said."""
        return cls(
            max_length,
            max_length // 3 if window_overlap is None else window_overlap,
            may_have_none=any(not question.answers for question in parts["train"]),
        )

    @classmethod
    def fits(cls, pretrained: Pretrained) -> bool:
        """See `Task`."""
        return pretrained.architecture == HEAD.architecture

    @classmethod
    def of_checkpoint(cls, pretrained: Pretrained, settings: Mapping[str, Any]) -> Self:
        """See `Task`."""
        return cls(**{"overlap": pretrained.config.max_position_embeddings // 3, **settings})

    @property
    def settings(self) -> dict[str, Any]:
        """See `Task`."""
        return dataclasses.asdict(self)

    def remarks(self, parts: Mapping[str, list[Question]]) -> list[Remark]:
        """See `Task`."""
        return []

    def given_labels(self, examples: Sequence[Question]) -> list[str]:
        """See `Task`: there are no classes."""
        return []

    def prepare(self, examples: Sequence[Question], tokenizer: Tokenizer) -> WindowFeatures:
        """See `Task`."""
        return window_features(examples, tokenizer, self.max_length, self.overlap)

    def restored(self, arrays: dict[str, np.ndarray]) -> WindowFeatures:
        """See `Task`."""
        return WindowFeatures(Features(**from_arrays(arrays, "features")), **from_arrays(arrays))

    def calibrated(
        self, examples: Sequence[Question], prepared: WindowFeatures, logits: np.ndarray
    ) -> Self:
        """See `Task`: the threshold of "no answer" that gives these examples the highest F1."""
        if not self.may_have_none:
            return self
        found = self._answered(examples, prepared, logits)
        best = {q.id: a.text() for q, a in zip(examples, found, strict=True)}
        threshold, _ = best_null_threshold(
            answer_scores(examples, best)[1],
            np.array([answered.null_margin for answered in found]),
            np.array([bool(question.answers) for question in examples]),
        )
        # JSON has no infinity.
        return dataclasses.replace(self, null_threshold=max(threshold, -1e30))

    def scores(
        self, examples: Sequence[Question], prepared: WindowFeatures, logits: np.ndarray
    ) -> dict[str, float]:
        """See `Task`: F1 and exact match, and those of the two kinds of question in SQuAD 2.0."""
        found = self._answered(examples, prepared, logits)
        texts = {q.id: a.text(self._threshold) for q, a in zip(examples, found, strict=True)}
        all_scores = squad_scores(examples, texts)
        result = {"f1": all_scores.f1, "exact": all_scores.exact}
        if self.may_have_none:
            for name in ("answerable_f1", "answerable_exact", "unanswerable_exact"):
                value = getattr(all_scores, name)
                if value is not None:
                    result[name] = value
        return result

    def predictions(
        self, examples: Sequence[Question], prepared: WindowFeatures, logits: np.ndarray
    ) -> Iterator[dict[str, Any]]:
        """See `Task`: the answer, where it stands, its probability, and the next best ones."""
        found = self._answered(examples, prepared, logits)
        for question, answered in zip(examples, found, strict=True):
            text = answered.text(self._threshold)
            probabilities = answered.probabilities()
            if not self.may_have_none:
                probabilities = probabilities[:-1] / probabilities[:-1].sum()
            candidates = [
                {"text": c.text, "start": c.start, "score": float(p)}
                for c, p in zip(answered.candidates[:3], probabilities, strict=False)
            ]
            truth = [answer.text for answer in question.answers]
            yield {
                "id": question.id,
                "question": question.question,
                "answer": text,
                "start": answered.candidates[0].start if text else None,
                **({"no_answer_score": float(probabilities[-1])} if self.may_have_none else {}),
                "candidates": candidates,
                **({"truth": truth} if truth else {}),
            }

    def shown(self, predictions: Sequence[dict[str, Any]]) -> list[Shown]:
        """See `Task`: answers that people did not give."""
        wrong = [
            Mistake(
                _sureness(row), row["question"], "",
                " | ".join(dict.fromkeys(row.get("truth", ()))), row["answer"],
            )
            for row in predictions
            if (row["answer"] not in row["truth"] if row.get("truth") else row["answer"])
        ]  # fmt: skip
        return [Mistakes(wrong, ("question", ""))]

    @property
    def _threshold(self) -> float:
        return self.null_threshold if self.may_have_none else np.inf

    def _answered(
        self, examples: Sequence[Question], prepared: WindowFeatures, logits: np.ndarray
    ) -> list[Answered]:
        return find_answers(examples, prepared, logits, max_pieces=self.max_answer_pieces)


def _sureness(row: Mapping[str, Any]) -> float:
    if not row["answer"]:
        return float(row.get("no_answer_score", 0.0))
    return float(row["candidates"][0]["score"])
