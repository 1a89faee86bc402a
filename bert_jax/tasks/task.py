"""What a kind of task is, for the loop that trains them all and the predictor that uses them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from bert_jax.convert.contents import Pretrained
from bert_jax.tasks.examples import Cleaning, Columns, Remark, Source
from bert_jax.tasks.features import Features
from bert_jax.tasks.heads import Head
from bert_jax.tasks.lines import Line, LineError
from bert_jax.tasks.report import Shown
from bert_jax.text.tokenizer import Tokenizer


class Prepared(Protocol):
    """Examples as token sequences, and whatever leads back from tokens to examples."""

    @property
    def features(self) -> Features:
        """The sequences."""


class Task(Protocol):
    """A class is a kind of task, an instance a task: data, head and score.

    Examples are what the kind's `read` returns; `prepared` is what `prepare` made of the same
    examples, and `logits` what the model says of them, [n, C] or [T, C].
    """

    name: ClassVar[str]
    """What commands, settings and checkpoints call the kind."""
    head: ClassVar[Head]
    """The output layer."""
    endings: ClassVar[tuple[str, ...]]
    """Of files that can only be of the form that `read` reads, not an example a line."""

    options: ClassVar[frozenset[str]]
    """Fields of `Columns` and `Cleaning` that only some kinds have a use for, this one too."""

    @classmethod
    def read(cls, source: Source, columns: Columns) -> list[Any]:
        """Read examples with their labels; columns without a name have the kind's own.

        Raises:
            UserError: there are none, or one is not as it should be; says which.
        """

    @classmethod
    def example(cls, line: Line, columns: Columns | None) -> Any:
        """Make an example without a label of a line, or of what a notebook hands over.

        Args:
            line: what is to be labelled.
            columns: those of training; None where nobody knows.

        Raises:
            UserError: it is none of this kind.
        """

    @classmethod
    def lines(cls, path: str | Path, columns: Columns | None) -> Iterator[Line | LineError]:
        """Read for `example` what `read` reads for training: a file with labels, left out here.

        Instead of a line that is not as it should be stands the error that names it.

        Raises:
            UserError: the file cannot be read, or lacks a column.
        """

    @classmethod
    def cleaned(
        cls, parts: Mapping[str, list[Any]], how: Cleaning
    ) -> tuple[dict[str, list[Any]], list[Remark]]:
        """Leave out what cannot be learned, and say what was.

        Raises:
            UserError: an example is wrong and nobody said what to do, or none is left.
        """

    @classmethod
    def of_examples(
        cls, parts: Mapping[str, list[Any]], max_length: int, window_overlap: int | None
    ) -> Self:
        """The task that these examples are of.

        Args:
            parts: examples by part; there is a `train`.
            max_length: most tokens of a sequence.
            window_overlap: tokens that two windows of a long text share; None for the usual share.

        Raises:
            UserError: there is nothing to learn.
        """

    @classmethod
    def fits(cls, pretrained: Pretrained) -> bool:
        """Whether the output layer of a checkpoint that others wrote is of this kind."""

    @classmethod
    def of_checkpoint(cls, pretrained: Pretrained, settings: Mapping[str, Any]) -> Self:
        """The task of a checkpoint; `settings` as below, as far as they are known."""

    @property
    def max_length(self) -> int:
        """Most tokens of a sequence."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of their scores; () where the head has none."""

    @property
    def settings(self) -> dict[str, Any]:
        """JSON-able, what a checkpoint keeps beside its labels."""

    def remarks(self, parts: Mapping[str, list[Any]]) -> list[Remark]:
        """What to say of the task and its examples before it is learned."""

    def given_labels(self, examples: Sequence[Any]) -> list[str]:
        """The class of every item that is learned, for weights of classes."""

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

    def shown(self, predictions: Sequence[dict[str, Any]]) -> list[Shown]:
        """What a report shows of these predictions, whose examples have labels."""


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis, float64."""
    e = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def class_names(pretrained: Pretrained) -> tuple[str, ...]:
    """The labels of a checkpoint's classifier; LABEL_0, LABEL_1, … where it names none."""
    return pretrained.labels or tuple(f"LABEL_{i}" for i in range(count_scores(pretrained)))


def count_scores(pretrained: Pretrained) -> int:
    """How many scores a checkpoint's classifier gives; 0 where it has none."""
    head = pretrained.params.get("classifier")
    return head["kernel"].shape[1] if head else 0
