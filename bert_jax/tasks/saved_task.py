"""The task a checkpoint was fine-tuned for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bert_jax.convert.contents import Pretrained
from bert_jax.errors import UserError
from bert_jax.tasks.answer_task import QuestionAnswering
from bert_jax.tasks.choice_task import MultipleChoice
from bert_jax.tasks.tag_task import Tagging
from bert_jax.tasks.task import Task
from bert_jax.tasks.text_tasks import Classification, Regression


def head_item(task: Task) -> dict[str, Any]:
    """What a checkpoint keeps of a task, for its item `head`."""
    return {
        "architecture": task.head.architecture,
        "labels": list(task.labels),
        "settings": task.settings,
    }


def task_of(pretrained: Pretrained, settings: Mapping[str, Any] | None) -> Task:
    """The task of a fine-tuned checkpoint.

    Args:
        pretrained: the checkpoint.
        settings: those of `head_item`; None for a checkpoint that others wrote, whose task then
            follows from its architecture.

    Raises:
        UserError: the checkpoint is not fine-tuned.
    """
    longest = pretrained.config.max_position_embeddings
    settings = dict(settings or {"max_length": longest})
    kind = settings.pop("task", None)
    head = pretrained.params.get("classifier")
    scores = head["kernel"].shape[1] if head else 0
    labels = pretrained.labels or tuple(f"LABEL_{i}" for i in range(scores))
    if pretrained.architecture == "BertForSequenceClassification":
        if kind == "regression" or (kind is None and scores == 1):
            return Regression(**settings)
        return Classification(labels=labels, **settings)
    if pretrained.architecture == "BertForTokenClassification":
        return Tagging(labels=labels, **settings)
    if pretrained.architecture == "BertForMultipleChoice":
        return MultipleChoice(**settings)
    if pretrained.architecture == "BertForQuestionAnswering":
        return QuestionAnswering(**{"overlap": longest // 3, **settings})
    raise UserError(
        f"got a checkpoint of {pretrained.architecture}, which has no task; expected one that was"
        " fine-tuned, by experiments.finetune or elsewhere"
    )
