"""Questions with several choices, from JSON lines."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from bert_jax.errors import UserError
from bert_jax.tasks.tables import json_objects


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
    questions = []
    for line, row in json_objects(path):
        text, choices = row.get(text_column), row.get(choices_column)
        if not isinstance(text, str):
            _fail(path, line, text_column, text, "a text")
        if not isinstance(choices, list) or len(choices) < 2 or not all(
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
    raise UserError(f"{path}, line {line}: got {column} = {got!r}; expected {expected}")
