"""Questions from SQuAD's files, 1.1 and 2.0, from TFDS, and from memory, every value checked."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

from bert_jax.errors import UserError
from bert_jax.json_reading import NotJSONError, parse_json
from bert_jax.tasks.lines import Line, LineError, read_bytes
from bert_jax.tasks.question_answering.squad import Answer, Question
from bert_jax.tasks.tfds import as_text, open_split


def read_squad(path: str | Path) -> list[Question]:
    """Read a SQuAD file, plain or gzipped.

    Args:
        path: `{"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question",
            "answers": [{"text", "answer_start"}]}]}]}]}`.

    Raises:
        UserError: not such a file, or two questions of one id; the message names the first
            question that is wrong by its article, paragraph and number there.
    """
    questions = []
    for line in question_lines(path):
        if isinstance(line, LineError):
            raise line
        questions.append(_question(line))
    return _distinct(questions)


def question_lines(path: str | Path) -> Iterator[Line | LineError]:
    """The same one by one, as objects with all that stands of a question, which are not checked.

    Instead of what is no question stands the error that names it.

    Raises:
        UserError: not such a file, or one without questions.
    """
    none = True
    for number, article in enumerate(_articles(path), 1):
        for line in _of_article(Line(str(path), number, (), article, "article")):
            none = False
            yield line
    if none:
        raise UserError(f"got {path}, which has no questions; expected at least one")


def read_tfds_questions(name: str, split: str) -> list[Question]:
    """Return a split of `squad` or `squad/v2.0` as questions."""
    _, records = open_split(name, split)
    questions = []
    for number, record in enumerate(records, 1):
        answers = record["answers"]
        questions.append(
            Question(
                as_text(record["id"]), as_text(record["title"]), as_text(record["question"]),
                as_text(record["context"]),
                tuple(
                    Answer(as_text(text), int(start))
                    for text, start in zip(answers["text"], answers["answer_start"], strict=False)
                ),
                f"tfds:{name}:{split}, question {number}",
            )
        )  # fmt: skip
    return questions


def questions_of(rows: Sequence[Any]) -> list[Question]:
    """Questions in memory: dicts with question, context and, where there are answers, these.

        {"question": …, "context": …, "answers": [{"text": …, "answer_start": …}]}

    Raises:
        UserError: one of another form, or the second of one id, with its number from 1.
    """
    questions = []
    for number, row in enumerate(rows, 1):
        if isinstance(row, Question):
            place = row.place or f"the examples, item {number}"
            questions.append(dataclasses.replace(row, place=place))
            continue
        line = Line("the examples", number, (), row, "item")
        usual = {"id": number, "title": str(number)}
        content = {**usual, **_object(line, "question, context and answers")}
        questions.append(_question(dataclasses.replace(line, content=content)))
    return _distinct(questions)


def _articles(path: str | Path) -> list[Any]:
    try:
        content = parse_json(read_bytes(path))
    except NotJSONError as error:
        raise _no_squad(path, f" ({error.in_line})") from error
    if not isinstance(content, dict) or "data" not in content:
        raise _no_squad(path, "")
    articles = content["data"]
    if not isinstance(articles, list):
        raise _no_squad(path, f" (data = {_short(articles)})")
    return articles


def _no_squad(path: str | Path, why: str) -> UserError:
    return UserError(
        f'got {path}, which is not a SQuAD file{why}; expected a JSON object with "data", a list of'
        " articles"
    )


def _of_article(article: Line) -> Iterator[Line | LineError]:
    try:
        title = _object(article, "paragraphs").get("title", article.number - 1)
        paragraphs = _member(article, "paragraphs", list, "a list of paragraphs")
    except LineError as error:
        yield error
        return
    for number, content in enumerate(paragraphs, 1):
        yield from _of_paragraph(Line(article.place, number, (), content, "paragraph"), title)


def _of_paragraph(paragraph: Line, title: Any) -> Iterator[Line | LineError]:
    try:
        content = _object(paragraph, "context and qas")
        entries = _member(paragraph, "qas", list, "a list of questions")
    except LineError as error:
        yield error
        return
    shared = {"title": title} | {k: v for k, v in content.items() if k == "context"}
    for number, entry in enumerate(entries, 1):
        line = Line(paragraph.place, number, (), entry, "question")
        try:
            whole = {**_object(line, "id, question and answers"), **shared}
        except LineError as error:
            yield error
        else:
            yield dataclasses.replace(line, content=whole)


def _question(line: Line) -> Question:
    context = _member(line, "context", str, "a text")
    identity = _member(line, "id", (str, Integral), "a text")
    asked = _member(line, "question", str, "a text")
    content = _object(line, "answers")
    given = content.get("answers")
    if given is not None and not isinstance(given, list | tuple):
        raise line.wrong(f"got answers = {_short(given)}; expected a list of answers")
    answers = [_answer(line, answer) for answer in given or ()]
    if content.get("is_impossible") is True:  # some files then have an empty answer for none
        answers = [answer for answer in answers if answer.text.strip()]
    title = str(content.get("title", ""))
    return Question(str(identity), title, asked, context, tuple(answers), line.place)


def _answer(line: Line, answer: Any) -> Answer:
    entry = dataclasses.replace(line, content=answer)
    _object(entry, "text and answer_start")
    text = _member(entry, "text", str, "a text")
    return Answer(text, int(_member(entry, "answer_start", Integral, "a whole number")))


def _object(line: Line, members: str) -> Mapping[str, Any]:
    if not isinstance(line.content, Mapping):
        raise line.wrong(f"got {_short(line.content)}; expected an object with {members}")
    return line.content


def _member(line: Line, name: str, kind: type | tuple[type, ...], words: str) -> Any:
    content = _object(line, name)
    if name not in content:
        raise line.wrong(f"got no {name!r}; expected it, as in SQuAD's files")
    value = content[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise line.wrong(f"got {name} = {_short(value)}; expected {words}")
    return value


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _distinct(questions: Sequence[Question]) -> list[Question]:
    """The same, no two of one id."""
    seen: dict[str, Question] = {}
    for question in questions:
        other = seen.setdefault(question.id, question)
        if other is not question:
            raise UserError(
                f"{question.place}: got id {question.id!r}, which {other.place} has; expected each"
                " id once"
            )
    return list(seen.values())
