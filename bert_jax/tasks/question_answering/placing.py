"""Answers that do not stand where a file says: found nearby, or left out and counted."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bert_jax.errors import UserError
from bert_jax.tasks.examples import Remark
from bert_jax.tasks.question_answering.squad import Answer, Question

NEARBY = 32
"""Characters between where an answer is said to begin and where it is still found."""


@dataclass(frozen=True)
class Placed:
    """Questions whose answers all stand where they are said to, and what it took.

    Attributes:
        questions: those that are left, or never had an answer.
        moved: answers that were found nearby, or with other white space.
        answers_left_out: those that were not found.
        questions_left_out: those that had only such answers.
    """

    questions: list[Question]
    moved: int
    answers_left_out: int
    questions_left_out: int


def placing_remarks(placed: Mapping[str, Placed]) -> list[Remark]:
    """What to say of the answers of each part; nothing where all stand where they are said to."""
    counts = {
        part: {
            "answers_found_nearby": found.moved, "answers_left_out": found.answers_left_out,
            "questions_left_out": found.questions_left_out,
        }
        for part, found in placed.items()
        if found.moved or found.answers_left_out
    }  # fmt: skip
    said = "; ".join(
        f"{part}, {of['answers_found_nearby']:,} stand up to {NEARBY} characters from where they"
        f" are said to, or with other white space; {of['answers_left_out']:,} are not found and"
        f" left out, with {of['questions_left_out']:,} questions"
        for part, of in counts.items()
    )
    return [Remark(f"answers: {said}", {"answers": counts})] if counts else []


def place_answers(questions: Sequence[Question], bad_answers: str = "refuse") -> Placed:
    """Make every answer a stretch of its context.

    An answer that is not where it is said to be is looked for up to `NEARBY` characters from
    there, any white space standing for any other; the nearest stretch that cuts no word becomes the
    answer, or else the nearest.

    Args:
        questions: as they were read.
        bad_answers: what becomes of an answer that is not found: "refuse" raises, "skip" leaves it
            out, and its question where that has no other.

    Raises:
        UserError: names the first answer that is not found, and says how many there are.
    """
    placed: list[Question] = []
    bad: list[tuple[Question, Answer]] = []
    moved = 0
    for question in questions:
        found = [(answer, _found(question.context, answer)) for answer in question.answers]
        bad += [(question, answer) for answer, stretch in found if stretch is None]
        moved += sum(stretch not in (None, answer) for answer, stretch in found)
        answers = tuple(stretch for _, stretch in found if stretch is not None)
        if answers or not question.answers:
            placed.append(dataclasses.replace(question, answers=answers))
    if bad and bad_answers == "refuse":
        question, answer = bad[0]
        here = question.context[max(answer.start, 0) :][: max(len(answer.text), 1)]
        raise UserError(
            f"{question.place}: got answer {answer.text!r} with answer_start {answer.start}, where"
            f" the context has {here!r}; expected the place of the answer in characters"
            f" ({len(bad):,} of {sum(len(q.answers) for q in questions):,} answers are not found:"
            " bad_answers=skip leaves them out)"
        )
    if not placed:
        raise UserError(
            f"{questions[0].place}: got no answer that occurs in its context; expected at least one"
        )
    return Placed(placed, moved, len(bad), len(questions) - len(placed))


def _found(context: str, answer: Answer) -> Answer | None:
    """The stretch of the context that is an answer: where it is said to be, or nearest to that."""
    words = answer.text.split()
    start = answer.start
    if not words or start > len(context) + NEARBY:
        return None
    if start >= 0 and context.startswith(answer.text, start):
        return answer
    # Room for more white space than there is in the answer.
    end = max(start, 0) + 2 * len(answer.text) + 2 * NEARBY
    pattern = re.compile(r"\s+".join(map(re.escape, words)))
    matches: list[re.Match[str]] = []
    at = max(start - NEARBY, 0)
    while (match := pattern.search(context, at, end)) and match.start() <= start + NEARBY:
        matches.append(match)
        at = match.start() + 1
    if not matches:
        return None
    best = min(matches, key=lambda m: (_inside_word(context, m), abs(m.start() - start)))
    return Answer(best[0], best.start())


def _inside_word(context: str, match: re.Match[str]) -> bool:
    """Whether a stretch cuts a word: the 5 of 1995."""
    edges = ((match.start() - 1, match.start()), (match.end() - 1, match.end()))
    return any(
        left >= 0 and right < len(context) and context[left].isalnum() and context[right].isalnum()
        for left, right in edges
    )
