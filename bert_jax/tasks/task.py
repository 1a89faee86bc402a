"""What a kind of task is, for the loop that trains them all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, Self

import numpy as np

from bert_jax.tasks.features import Features
from bert_jax.tasks.heads import Head
from bert_jax.text.tokenizer import Tokenizer


class Prepared(Protocol):
    """Examples as token sequences, and whatever leads back from tokens to examples."""

    @property
    def features(self) -> Features:
        """The sequences."""


class Task(Protocol):
    """One kind of task with its settings: data, head and score.

    Examples are what the task's reader returns; `prepared` is what its `prepare` made of the same
    examples, and `logits` what the model says of them, [n, C] or [T, C].
    """

    @property
    def head(self) -> Head:
        """The output layer."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of their scores; () where the head has none."""

    @property
    def settings(self) -> dict[str, Any]:
        """JSON-able, what a checkpoint keeps so that `task_of` makes this task again."""

    def prepare(self, examples: Sequence[Any], tokenizer: Tokenizer) -> Any:
        """Make the token sequences."""

    def restored(self, arrays: dict[str, np.ndarray]) -> Any:
        """Undo `features.as_arrays` of what `prepare` made."""

    def calibrated(self, examples: Sequence[Any], prepared: Any, logits: np.ndarray) -> Self:
        """This task with what is best chosen on held-out examples, such as a threshold."""

    def scores(
        self, examples: Sequence[Any], prepared: Any, logits: np.ndarray
    ) -> dict[str, float]:
        """Scores by name, more being better; the first is the one that models are chosen by."""

    def predictions(
        self, examples: Sequence[Any], prepared: Any, logits: np.ndarray
    ) -> Iterator[dict[str, Any]]:
        """For each example, in order, what the model says, JSON-able."""


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis, float64."""
    e = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)
