"""The kinds of task, and which one a checkpoint was fine-tuned for."""

from __future__ import annotations

from typing import Any

from bert_jax.convert.contents import Pretrained
from bert_jax.errors import UserError
from bert_jax.tasks.classification import Classification
from bert_jax.tasks.examples import Columns
from bert_jax.tasks.multi_label import MultiLabel
from bert_jax.tasks.multiple_choice import MultipleChoice
from bert_jax.tasks.question_answering.task import QuestionAnswering
from bert_jax.tasks.regression import Regression
from bert_jax.tasks.similarity import Similarity
from bert_jax.tasks.tagging import Tagging
from bert_jax.tasks.task import Task, count_scores

KINDS: tuple[type[Task], ...] = (
    Classification, MultiLabel, Regression, QuestionAnswering, Tagging, MultipleChoice,
    Similarity,
)  # fmt: skip


def head_item(task: Task, columns: Columns | None = None) -> dict[str, Any]:
    """What a checkpoint keeps of a task, for its item `head`.

    Args:
        task: what was learned.
        columns: what the columns of its data are called; None where nobody will ask.
    """
    named = {} if columns is None else {"columns": columns.named()}
    problem = task.head.problem_type
    return {
        "architecture": task.head.architecture,
        "labels": list(task.labels),
        **({} if problem is None else {"problem_type": problem}),
        "settings": {"task": task.name, **task.settings},
        **named,
    }


def task_of(pretrained: Pretrained) -> Task:
    """The task of a fine-tuned checkpoint.

    Args:
        pretrained: the checkpoint; of one that others wrote, which remembers none, the task
            follows from its output layer.

    Raises:
        UserError: the checkpoint is not fine-tuned, or for what no task here does.
    """
    known = dict(
        pretrained.task.get("settings") or {"max_length": pretrained.config.max_position_embeddings}
    )
    name = known.pop("task", None)
    for kind in KINDS:
        if kind.name == name or (name is None and kind.fits(pretrained)):
            return kind.of_checkpoint(pretrained, known)
    if pretrained.problem_type is not None:
        raise UserError(
            f"got a checkpoint whose config.json says problem_type={pretrained.problem_type} of"
            f" {count_scores(pretrained)} scores; expected single_label_classification of at least"
            " 2, multi_label_classification, or regression of 1"
        )
    raise UserError(
        f"got a checkpoint of {pretrained.architecture}, which has no task; expected one that was"
        " fine-tuned, here or elsewhere"
    )
