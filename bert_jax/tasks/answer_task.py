"""Extractive question answering as a task: SQuAD 1.1 and 2.0."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from bert_jax.tasks.answer_windows import WindowFeatures, window_features
from bert_jax.tasks.answers import Answered, find_answers
from bert_jax.tasks.features import Features, from_arrays
from bert_jax.tasks.heads import QUESTION_ANSWERING, Head
from bert_jax.tasks.squad_files import Question
from bert_jax.tasks.squad_scores import answer_scores, best_null_threshold, squad_scores
from bert_jax.text.tokenizer import Tokenizer


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

    @property
    def labels(self) -> tuple[str, ...]:
        """See `Task`."""
        return ()

    @property
    def head(self) -> Head:
        """See `Task`."""
        return QUESTION_ANSWERING

    @property
    def settings(self) -> dict[str, Any]:
        """See `Task`."""
        return {"task": "qa", **dataclasses.asdict(self)}

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

    @property
    def _threshold(self) -> float:
        return self.null_threshold if self.may_have_none else np.inf

    def _answered(
        self, examples: Sequence[Question], prepared: WindowFeatures, logits: np.ndarray
    ) -> list[Answered]:
        return find_answers(examples, prepared, logits, max_pieces=self.max_answer_pieces)
