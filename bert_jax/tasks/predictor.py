"""A fine-tuned model at work: texts in, labels with their scores out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any, Literal, Self

import jax

from bert_jax.arguments import expect, whole_number
from bert_jax.convert.contents import Pretrained
from bert_jax.convert.models import fit
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.errors import UserError
from bert_jax.kernels.compute import Compute
from bert_jax.memory import check_batch
from bert_jax.parameters import with_cast_products
from bert_jax.tasks.batches import packed_rows
from bert_jax.tasks.empty_texts import check_texts
from bert_jax.tasks.examples import Columns
from bert_jax.tasks.forward import forward, predict
from bert_jax.tasks.kinds import task_of
from bert_jax.tasks.lines import Line, LineError
from bert_jax.tasks.task import Task


class Predictor:
    """Predicts with a fine-tuned model.

        predictor = Predictor.from_pretrained("runs/mine")
        predictor(["a moving film"])
        # [{"text": "a moving film", "label": "yes", "scores": {"no": 0.02, "yes": 0.98}}]

    Args:
        pretrained: a checkpoint with a vocabulary.
        task: what it was fine-tuned for; None finds it out.
        columns: what the texts of dicts and files are called; None if unknown.
        chunk: examples that are read before their predictions are given.
        batch_rows: rows of a batch; a row holds several examples.
        compute: how the model computes; None is `Compute()`.

    Attributes:
        notes: what there is to say about the checkpoint's files.

    Raises:
        UserError: no vocabulary, or a checkpoint that was not fine-tuned.
    """

    def __init__(
        self,
        pretrained: Pretrained,
        task: Task | None = None,
        *,
        columns: Columns | None = None,
        chunk: int = 1024,
        batch_rows: int = 16,
        compute: Compute | None = None,
    ):
        if pretrained.tokenizer is None:
            raise UserError(
                f"got a checkpoint without a vocabulary ({'; '.join(pretrained.notes)}); expected"
                " one with a vocab.txt or tokenizer.json"
            )
        self.task = task or task_of(pretrained)
        self.notes = pretrained.notes
        self._tokenizer, self.columns = pretrained.tokenizer, columns
        self._chunk = whole_number("chunk", chunk)
        self._batch_rows = whole_number("batch_rows", batch_rows)
        self._positions = pretrained.config.max_position_embeddings
        width = pretrained.config.hidden_size
        check_batch(batch_rows, self._positions, width, f"batch_rows={batch_rows}")
        head = self.task.head
        compute = (compute or Compute()).at_work()
        fitted = fit(
            pretrained, head.model, pretrained.config, seed=0, compute=compute,
            **head.options(self.task.labels),
        )  # fmt: skip
        self._params = jax.device_put(with_cast_products(fitted.params, compute.dtype))
        self._forward = jax.jit(partial(forward, fitted.definition, head, False))

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str],
        *,
        columns: Mapping[str, Any] | None = None,
        splitting: str | None = None,
        **options: Any,
    ) -> Self:
        """Read a workdir of `finetune`, or any fine-tuned checkpoint.

        Args:
            source: see `load_pretrained`.
            columns: fields of `Columns` that differ from those of training, which a checkpoint of
                `finetune` remembers.
            splitting: see `load_pretrained`.
            **options: see `Predictor`.
        """
        pretrained = load_pretrained(source, splitting=splitting)
        known = pretrained.task.get("columns")
        if columns or known:
            trained = {"text_pair_column": "pair"} if known is None else known
            named: dict[str, Any] = {**trained, **(columns or {})}
            lists: dict[str, Any] = {k: tuple(v) for k, v in named.items() if isinstance(v, list)}
            known = Columns(**{**named, **lists})
        return cls(pretrained, columns=known, **options)

    def __call__(
        self, examples: Iterable[Any], on_error: Literal["stop", "mark"] = "stop"
    ) -> list[dict[str, Any]]:
        """What the model says of each example: texts, pairs of texts, or dicts.

        Args:
            examples: in any mixture.
            on_error: what happens to an example that is not of this task: "stop" raises, "mark"
                puts `{"item": number from 1, "error": message}` in its place.

        Raises:
            UserError: an example that is none of this task, with its number from 1.
        """
        if isinstance(examples, str):
            raise UserError(f"got the text {examples!r}; expected a list of texts: [text]")
        return list(self.stream(examples, on_error))

    def stream(
        self, examples: Iterable[Any], on_error: Literal["stop", "mark"] = "stop"
    ) -> Iterator[dict[str, Any]]:
        """The same one by one, in constant memory.

        `Line`s are also examples; messages about them start with the line number. A
        `LineError` is one that could not be read.

        Raises:
            UserError: see above; what was asked before has been answered.
        """
        expect("examples", examples, Iterable, "a list of texts, pairs or dicts")
        numbered = enumerate(examples, 1)
        while chunk := list(islice(numbered, self._chunk)):
            found = [self._example(number, item) for number, item in chunk]
            wrong = [i for i, (_, each) in enumerate(found) if isinstance(each, UserError)]
            if wrong and on_error == "stop":
                found = found[: wrong[0] + 1]
            yield from self._answers(found, on_error)

    def _answers(
        self, found: list[tuple[Line | LineError, Any]], on_error: str
    ) -> Iterator[dict[str, Any]]:
        """What is said of examples, or their errors, each behind its number."""
        answers = self._predictions([each for _, each in found if not isinstance(each, UserError)])
        for line, each in found:
            answer = each if isinstance(each, UserError) else next(answers)
            if isinstance(line, Line) and isinstance(answer, UserError):
                answer = line.wrong(str(answer))
            place = {line.unit: line.number}
            if not isinstance(answer, UserError):
                yield {**place, **answer} if line.unit == "line" else answer
            elif on_error == "stop":
                raise answer
            else:
                yield {**place, "error": str(answer)}

    def _predictions(self, examples: list[Any]) -> Iterator[Any]:
        """What the model says of examples; of one that it cannot take, the error."""
        if not examples:
            return
        try:
            prepared = self._prepared(examples)
        except UserError:
            refused = [self._refused(example) for example in examples]
            if not any(refused):
                raise
            good = [each for each, wrong in zip(examples, refused, strict=True) if not wrong]
            answers = self._predictions(good)
            for wrong in refused:
                yield wrong or next(answers)
            return
        rows = packed_rows(prepared.features, self._batch_rows, self._positions)
        step = partial(self._forward, self._params)
        logits = predict(step, self.task.head, prepared.features, rows)
        yield from self.task.predictions(examples, prepared, logits)

    def _prepared(self, examples: list[Any]) -> Any:
        """What the model is given of examples, all of which have words in them."""
        prepared = self.task.prepare(examples, self._tokenizer)
        check_texts(prepared.features)
        return prepared

    def _refused(self, example: Any) -> UserError | None:
        """Why the model cannot take an example; None where it can."""
        try:
            self._prepared([example])
        except UserError as error:
            return error
        return None

    def _example(self, number: int, item: Any) -> tuple[Line | LineError, Any]:
        """Where an example stands, and the example, or the error of what is none."""
        try:
            if isinstance(item, LineError):
                raise item
            line = item if isinstance(item, Line) else Line.of_item(number, item)
            return line, self.task.example(line, self.columns)
        except LineError as error:
            return error, error
