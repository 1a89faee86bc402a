"""GLUE's nine tasks: their columns, their splits, and the score each is measured by.

Wang et al. 2019, table 1 (https://arxiv.org/abs/1804.07461); names and columns are those of TFDS.
The labels of the test splits are hidden, so development scores are what can be computed here.
"""

from dataclasses import dataclass

from bert_jax.errors import UserError


@dataclass(frozen=True)
class GlueTask:
    """One task; `scores[0]` is the one that models are chosen by."""

    text_column: str
    pair_column: str | None
    scores: tuple[str, ...]
    dev_split: str = "validation"
    other_splits: tuple[str, ...] = ()  # also scored, such as MNLI's mismatched part
    regression: bool = False


GLUE: dict[str, GlueTask] = {
    "cola": GlueTask("sentence", None, ("matthews", "accuracy")),
    "sst2": GlueTask("sentence", None, ("accuracy",)),
    "mrpc": GlueTask("sentence1", "sentence2", ("f1", "accuracy")),
    "qqp": GlueTask("question1", "question2", ("f1", "accuracy")),
    "stsb": GlueTask("sentence1", "sentence2", ("pearson", "spearman"), regression=True),
    "mnli": GlueTask(
        "premise", "hypothesis", ("accuracy",), "validation_matched", ("validation_mismatched",)
    ),
    "qnli": GlueTask("question", "sentence", ("accuracy",)),
    "rte": GlueTask("sentence1", "sentence2", ("accuracy",)),
    "wnli": GlueTask("sentence1", "sentence2", ("accuracy",)),
}


def glue_task(name: str) -> GlueTask:
    """Return a task by its name after `glue/`.

    Raises:
        UserError: GLUE has no such task.
    """
    if name not in GLUE:
        raise UserError(f"got GLUE task {name!r}; expected one of {', '.join(GLUE)}")
    return GLUE[name]
