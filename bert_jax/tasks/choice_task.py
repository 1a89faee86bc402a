"""Multiple choice as a task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from bert_jax.tasks.choice_files import ChoiceQuestion
from bert_jax.tasks.features import Features, from_arrays
from bert_jax.tasks.heads import MULTIPLE_CHOICE, Head
from bert_jax.tasks.multiple_choice import choice_features, choose
from bert_jax.tasks.text_features import TextFeatures
from bert_jax.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class MultipleChoice:
    """One of the choices a question brings with it."""

    max_length: int

    @property
    def labels(self) -> tuple[str, ...]:
        """See `Task`."""
        return ()

    @property
    def head(self) -> Head:
        """See `Task`."""
        return MULTIPLE_CHOICE

    @property
    def settings(self) -> dict[str, Any]:
        """See `Task`."""
        return {"task": "multiple_choice", "max_length": self.max_length}

    def prepare(self, examples: Sequence[ChoiceQuestion], tokenizer: Tokenizer) -> TextFeatures:
        """See `Task`."""
        return TextFeatures(choice_features(examples, tokenizer, self.max_length))

    def restored(self, arrays: dict[str, np.ndarray]) -> TextFeatures:
        """See `Task`."""
        return TextFeatures(Features(**from_arrays(arrays, "features")))

    def calibrated(
        self, examples: Sequence[ChoiceQuestion], prepared: TextFeatures, logits: np.ndarray
    ) -> Self:
        """See `Task`: nothing is to be chosen."""
        return self

    def scores(
        self, examples: Sequence[ChoiceQuestion], prepared: TextFeatures, logits: np.ndarray
    ) -> dict[str, float]:
        """See `Task`."""
        chosen = [int(p.argmax()) for p in choose(logits[:, 0], prepared.features.unit_starts)]
        right = [c == question.answer for c, question in zip(chosen, examples, strict=True)]
        return {"accuracy": float(np.mean(right))}

    def predictions(
        self, examples: Sequence[ChoiceQuestion], prepared: TextFeatures, logits: np.ndarray
    ) -> Iterator[dict[str, Any]]:
        """See `Task`: the number of the choice, and the probability of each."""
        found = choose(logits[:, 0], prepared.features.unit_starts)
        for question, probabilities in zip(examples, found, strict=True):
            truth = {} if question.answer is None else {"truth": question.answer}
            yield {
                "question": question.text,
                "choices": list(question.choices),
                **truth,
                "answer": int(probabilities.argmax()),
                "scores": probabilities.tolist(),
            }
