"""Multiple choice: each choice is a pair with its question, and one softmax goes over them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.convert.contents import Pretrained
from bert_jax.data.row_layout import Batch, Rows
from bert_jax.errors import UserError
from bert_jax.json_reading import shortened
from bert_jax.model.task_heads import BertForSequenceClassification
from bert_jax.tasks.examples import Cleaning, Columns, Remark, Source, in_memory
from bert_jax.tasks.features import Features, features_of, from_arrays
from bert_jax.tasks.heads import Head, Sums, output_logits, sequence_labels
from bert_jax.tasks.lines import Line, LineError, each_example, each_line
from bert_jax.tasks.report import Mistake, Mistakes, Shown
from bert_jax.tasks.tables import json_objects, table_of_rows
from bert_jax.tasks.texts import TextFeatures
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.training.sharding import DeviceBatch


@dataclass(frozen=True)
class ChoiceQuestion:
    """A text, the choices that may go with it, and the number of the right one (None: unknown)."""

    text: str
    choices: tuple[str, ...]
    answer: int | None
    line: int


def read_choices(
    path: str | Path,
    *,
    text_column: str = "question",
    choices_column: str = "choices",
    label_column: str | None = "answer",
) -> list[ChoiceQuestion]:
    """Read a question a line: `{"question": "…", "choices": ["…", "…"], "answer": 1}`.

    Args:
        path: the file.
        text_column: the member that every choice is paired with.
        choices_column: a list of at least two texts; questions may differ in their number.
        label_column: the number of the right choice, from 0; None does not read it.

    Raises:
        UserError: a line of another form, with its number.
    """
    return _questions(path, json_objects(path), text_column, choices_column, label_column)


def _questions(
    path: str | Path,
    rows: Iterable[tuple[int, Mapping[str, Any]]],
    text_column: str,
    choices_column: str,
    label_column: str | None,
) -> list[ChoiceQuestion]:
    questions = []
    for line, row in rows:
        text, choices = row.get(text_column), row.get(choices_column)
        if not isinstance(text, str):
            _fail(path, line, text_column, text, "a text")
        if not isinstance(choices, list | tuple) or len(choices) < 2 or not all(
            isinstance(choice, str) for choice in choices
        ):  # fmt: skip
            _fail(path, line, choices_column, choices, "a list of at least two texts")
        answer = row.get(label_column) if label_column else None
        if label_column and (type(answer) is not int or not 0 <= answer < len(choices)):
            _fail(path, line, label_column, answer, f"the right one, 0 to {len(choices) - 1}")
        questions.append(ChoiceQuestion(text, tuple(choices), answer, line))
    if not questions:
        raise UserError(f"got {path}, which has no questions; expected at least one")
    return questions


def _fail(path: str | Path, line: int, column: str, got: Any, expected: str) -> NoReturn:
    raise UserError(
        f"{path}, line {line}: got {column} = {shortened(repr(got))}; expected {expected}"
    )


def choice_features(
    questions: Sequence[ChoiceQuestion], tokenizer: Tokenizer, max_length: int
) -> Features:
    """Encode `[CLS] question [SEP] choice [SEP]` for each choice; a question is a unit.

    Args:
        questions: from `read_choices`.
        tokenizer: the model's.
        max_length: most tokens of a sequence; longer ones are cut, longest text first.
    """
    texts = [question.text for question in questions for _ in question.choices]
    choices = [choice for question in questions for choice in question.choices]
    labels = [
        float(number == question.answer)
        for question in questions
        for number in range(len(question.choices))
    ]
    return features_of(
        tokenizer.encode_batch(texts, choices, max_length),
        np.array(labels, np.float32),
        [len(question.choices) for question in questions],
    )


def choose(logits: np.ndarray, unit_starts: np.ndarray) -> list[np.ndarray]:
    """Return the probability of each choice of each question.

    Args:
        logits: [n], one a sequence.
        unit_starts: int64 [u + 1], see `Features`.
    """
    probabilities = []
    for begin, end in pairwise(unit_starts):
        e = np.exp(logits[begin:end].astype(np.float64) - logits[begin:end].max())
        probabilities.append(e / e.sum())
    return probabilities


def choice_labels(features: Features, rows: Rows, unit_size: int) -> Batch:
    """`labels` [B, 1], 1 at right choices, with `choices` [B, 1] 0 at rows that are none.

    `unit_size` rows in turn are the choices of one question; `weights` [B, 1] counts questions, at
    the first choice of each.
    """
    batch = sequence_labels(features, rows)
    choices = batch["weights"]
    first = (np.arange(len(choices)) % unit_size == 0)[:, None]
    return {
        "labels": batch["labels"].astype(np.float32),
        "choices": choices,
        "weights": choices * first.astype(np.float32),
    }


def choice_sums(
    logits: jax.Array, batch: DeviceBatch, unit_size: int, class_weights: jax.Array | None
) -> Sums:
    """Cross entropy over the choices of each question: logits [questions · choices, 1, 1]."""
    del class_weights
    scores, right, present, weights = (
        x.reshape(-1, unit_size)
        for x in (logits.astype(jnp.float32), batch["labels"], batch["choices"], batch["weights"])
    )
    scores = jnp.where(present > 0, scores, jnp.finfo(jnp.float32).min)
    at_right = jnp.sum(scores * right, axis=-1)
    asked = jnp.sum(weights, axis=-1)  # 0 where a batch is filled up
    nats = jnp.where(asked > 0, jax.nn.logsumexp(scores, axis=-1) - at_right, 0.0)
    hits = at_right >= jnp.max(scores, axis=-1)
    count = jnp.sum(asked)
    return {"nats": jnp.sum(nats), "weight": count, "hits": jnp.sum(hits * asked), "count": count}


# The model is a sequence classifier with one score, whose parameters are the same.
HEAD = Head(
    "BertForMultipleChoice", BertForSequenceClassification, choice_labels, output_logits,
    choice_sums, scores=1,
)  # fmt: skip


@dataclass(frozen=True)
class MultipleChoice:
    """One of the choices a question brings with it."""

    max_length: int

    name: ClassVar[str] = "multiple_choice"
    head: ClassVar[Head] = HEAD
    labels: ClassVar[tuple[str, ...]] = ()
    endings: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def read(cls, source: Source, columns: Columns) -> list[ChoiceQuestion]:
        """See `Task`; columns are called question, choices and answer."""
        text, choices, label = (
            columns.text_column or "question",
            columns.choices_column or "choices",
            columns.label_column or "answer",
        )
        if (rows := in_memory(source)) is not None:
            if isinstance(rows[0], ChoiceQuestion):
                return list(rows)
            table = table_of_rows(rows, columns.columns or (text, choices, label))
            objects = (
                dict(zip(table.columns, row, strict=True))
                for row in zip(*table.columns.values(), strict=True)
            )
            numbered = zip(table.lines, objects, strict=True)
            return _questions(table.source, numbered, text, choices, label)
        assert isinstance(source, str | Path)
        return read_choices(source, text_column=text, choices_column=choices, label_column=label)

    @classmethod
    def example(cls, line: Line, columns: Columns | None) -> ChoiceQuestion:
        """See `Task`: an object with question and choices."""
        known = columns or Columns()
        text, choices = known.text_column or "question", known.choices_column or "choices"
        if line.content is None:
            raise line.wanted(f'"{text}" and "{choices}"')
        asked, given = line.text(text), line.list_of_texts(choices)
        if len(given) < 2:
            raise line.wrong(
                f"got {choices} = {list(given)!r}; expected a list of at least two texts"
            )
        return ChoiceQuestion(asked, given, None, line.number)

    @classmethod
    def lines(cls, path: str | Path, columns: Columns | None) -> Iterator[Line | LineError]:
        """See `Task`: the objects of JSON lines."""
        return each_example(str(path), each_line(path))

    @classmethod
    def cleaned(
        cls, parts: Mapping[str, list[ChoiceQuestion]], how: Cleaning
    ) -> tuple[dict[str, list[ChoiceQuestion]], list[Remark]]:
        """See `Task`."""
        return dict(parts), []

    @classmethod
    def of_examples(
        cls,
        parts: Mapping[str, list[ChoiceQuestion]],
        max_length: int,
        window_overlap: int | None = None,
    ) -> Self:
        """See `Task`."""
        return cls(max_length)

    @classmethod
    def fits(cls, pretrained: Pretrained) -> bool:
        """See `Task`."""
        return pretrained.architecture == HEAD.architecture

    @classmethod
    def of_checkpoint(cls, pretrained: Pretrained, settings: Mapping[str, Any]) -> Self:
        """See `Task`."""
        return cls(**settings)

    @property
    def settings(self) -> dict[str, Any]:
        """See `Task`."""
        return {"max_length": self.max_length}

    def remarks(self, parts: Mapping[str, list[ChoiceQuestion]]) -> list[Remark]:
        """See `Task`."""
        return []

    def given_labels(self, examples: Sequence[ChoiceQuestion]) -> list[str]:
        """See `Task`: there are no classes."""
        return []

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

    def shown(self, predictions: Sequence[dict[str, Any]]) -> list[Shown]:
        """See `Task`: the mistakes."""
        found = [
            Mistake(
                row["scores"][row["answer"]], row["question"], "", row["choices"][row["truth"]],
                row["choices"][row["answer"]],
            )
            for row in predictions
            if row["answer"] != row["truth"]
        ]  # fmt: skip
        return [Mistakes(found, ("question", ""))]
