"""A fine-tuned model at work: texts in, labels with their scores out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Self

import jax

from bert_jax.checkpoints import has_item, load_json
from bert_jax.convert.contents import Pretrained
from bert_jax.convert.models import fit
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.errors import UserError
from bert_jax.kernels.compute import Compute
from bert_jax.pretrained_paths import find_ours
from bert_jax.tasks.batches import packed_rows
from bert_jax.tasks.examples import Columns, Line
from bert_jax.tasks.forward import forward, predict
from bert_jax.tasks.kinds import task_of
from bert_jax.tasks.task import Task


class Predictor:
    """Says of examples what a fine-tuned model makes of them.

        predictor = Predictor.from_pretrained("runs/mine")
        predictor(["a moving film"])
        # [{"text": "a moving film", "label": "yes", "scores": {"no": 0.02, "yes": 0.98}}]

    Args:
        pretrained: a checkpoint with a vocabulary.
        task: what it was fine-tuned for; None finds it out.
        columns: what the texts of dicts are called; None leaves it to the kind of task.
        chunk: examples that are read before what the model says of them is given.
        batch_rows: rows of a batch; a row holds several examples.
        compute: how the model computes; None is `Compute()`.

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
        self.task = task or task_of(pretrained, None)
        self._tokenizer, self._columns = pretrained.tokenizer, columns or Columns()
        self._chunk, self._batch_rows = chunk, batch_rows
        self._positions = pretrained.config.max_position_embeddings
        head = self.task.head
        fitted = fit(
            pretrained, head.model, pretrained.config, seed=0, compute=compute or Compute(),
            **head.options(self.task.labels),
        )  # fmt: skip
        self._params = jax.device_put(fitted.params)
        self._forward = jax.jit(partial(forward, fitted.definition, head, False))

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike[str], **options: Any) -> Self:
        """Read a workdir of `finetune`, or any fine-tuned checkpoint.

        Args:
            source: see `load_pretrained`.
            **options: see `Predictor`.
        """
        pretrained = load_pretrained(source)
        return cls(pretrained, task_of(pretrained, _settings(source)), **options)

    def __call__(self, examples: Iterable[Any]) -> list[dict[str, Any]]:
        """What the model says of each example: texts, pairs of texts, or dicts.

        Raises:
            UserError: an example that is none of this task, with its number from 1.
        """
        if isinstance(examples, str):
            raise UserError(f"got the text {examples!r}; expected a list of texts: [text]")
        return list(self.stream(examples))

    def stream(self, examples: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """The same one by one, in constant memory; `Line`s are also examples.

        Raises:
            UserError: see above; what stands in chunks before has been given.
        """
        found = (self._example(number, item) for number, item in enumerate(examples, 1))
        while chunk := list(islice(found, self._chunk)):
            prepared = self.task.prepare(chunk, self._tokenizer)
            rows = packed_rows(prepared.features, self._batch_rows, self._positions)
            step = partial(self._forward, self._params)
            logits = predict(step, self.task.head, prepared.features, rows)
            yield from self.task.predictions(chunk, prepared, logits)

    def _example(self, number: int, item: Any) -> Any:
        line = item if isinstance(item, Line) else Line.of_item(number, item)
        return self.task.example(line, self._columns)


def _settings(source: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Of the task, where the checkpoint is ours and keeps them."""
    ours = find_ours(Path(source))
    if ours is None or not has_item(ours, "head"):
        return None
    return load_json(ours, "head").get("settings")
