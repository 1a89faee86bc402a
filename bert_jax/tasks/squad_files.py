"""Questions about paragraphs, from SQuAD's JSON: versions 1.1 and 2.0."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bert_jax.errors import UserError
from bert_jax.tasks.lines import read_bytes


@dataclass(frozen=True)
class Answer:
    """A stretch of the context: `context[start : start + len(text)] == text`."""

    text: str
    start: int


@dataclass(frozen=True)
class Question:
    """A question, where its answer is looked for, and what people answered.

    No answers: in training and scoring, the question cannot be answered from the context
    (SQuAD 2.0); in prediction, nobody knows yet.
    """

    id: str
    article: str
    question: str
    context: str
    answers: tuple[Answer, ...]


def read_squad(path: str | Path, *, check_starts: bool = True) -> list[Question]:
    """Read a SQuAD file, plain or gzipped.

    Args:
        path: `{"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question",
            "answers": [{"text", "answer_start"}]}]}]}]}`.
        check_starts: whether each answer must stand where it is said to. Scoring compares texts
            only and does not need it.

    Raises:
        UserError: not such a file; the message names the first question that is wrong.
    """
    try:
        content = json.loads(read_bytes(path))
        articles = content["data"]
    except (ValueError, TypeError, KeyError) as error:
        where = (
            f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else ""
        )
        raise UserError(
            f"got {path}, which is no SQuAD file{f' ({where})' if where else ''}; expected a JSON"
            ' object with "data"'
        ) from error
    questions: list[Question] = []
    for a, article in enumerate(articles):
        for p, paragraph in enumerate(_member(article, "paragraphs", f"{path}, article {a + 1}")):
            where = f"{path}, article {a + 1}, paragraph {p + 1}"
            context = _member(paragraph, "context", where)
            for q, entry in enumerate(_member(paragraph, "qas", where)):
                questions.append(
                    _question(
                        entry, str(article.get("title", a)), context, f"{where}, question {q + 1}",
                        check_starts,
                    )
                )  # fmt: skip
    if not questions:
        raise UserError(f"got {path}, which has no questions; expected at least one")
    return questions


def _question(entry: Any, article: str, context: str, where: str, check: bool) -> Question:
    answers = tuple(
        Answer(_member(a, "text", where), _member(a, "answer_start", where))
        for a in (entry.get("answers") or ())
    )
    for answer in answers if check else ():
        found = context[answer.start : answer.start + len(answer.text)]
        if found != answer.text:
            raise UserError(
                f"{where}: got answer {answer.text!r} with answer_start {answer.start}, where the"
                f" context has {found!r}; expected the place of the answer in characters"
            )
    return Question(
        str(_member(entry, "id", where)), article, _member(entry, "question", where), context,
        answers,
    )  # fmt: skip


def _member(content: Any, name: str, where: str) -> Any:
    if not isinstance(content, dict) or name not in content:
        raise UserError(f"{where}: got no {name!r}; expected it, as in SQuAD's files")
    return content[name]
