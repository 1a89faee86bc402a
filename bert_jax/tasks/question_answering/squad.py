"""SQuAD, 1.1 and 2.0: what a question is, and its scores of answers."""

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class Answer:
    """A stretch of the context: `context[start : start + len(text)] == text`, once it is placed."""

    text: str
    start: int


@dataclass(frozen=True)
class Question:
    """A question, where its answer is looked for, and what people answered.

    No answers: in training and scoring, the question cannot be answered from the context
    (SQuAD 2.0); in prediction, the answer is unknown.
    """

    id: str
    article: str
    question: str
    context: str
    answers: tuple[Answer, ...]
    place: str = field(default="", compare=False, repr=False)
    """Where it was read, for errors."""


def normal_answer(text: str) -> str:
    """Lowercase, without ASCII punctuation, articles and superfluous white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(predicted: str, answers: Sequence[str]) -> float:
    """1.0 where the prediction, made normal, is one of the answers, else 0.0."""
    return float(any(normal_answer(predicted) == normal_answer(answer) for answer in answers))


def word_f1(predicted: str, answers: Sequence[str]) -> float:
    """F1 of the words shared with an answer, the best of all answers."""
    return max(_word_f1(normal_answer(predicted).split(), answer) for answer in answers)


def _word_f1(predicted: list[str], answer: str) -> float:
    words = normal_answer(answer).split()
    if not predicted or not words:  # "no answer" agrees with "no answer" only
        return float(predicted == words)
    shared = (Counter(predicted) & Counter(words)).total()
    return 2 * shared / (len(predicted) + len(words))


@dataclass(frozen=True)
class SquadScores:
    """Averages over all questions, over the answerable and over the others, in 0 … 1.

    A part without questions has None.
    """

    exact: float
    f1: float
    answerable_exact: float | None
    answerable_f1: float | None
    unanswerable_exact: float | None


def squad_scores(questions: Sequence[Question], predictions: Mapping[str, str]) -> SquadScores:
    """Score predicted answers; the empty text says that there is none.

    As the script for SQuAD 2.0 does, which gives SQuAD 1.1's figures where every question has
    answers. A question without a prediction counts as wrong.

    Args:
        questions: with the answers of people.
        predictions: by the id of the question.

    Source: https://rajpurkar.github.io/SQuAD-explorer, Rajpurkar et al. 2016 and 2018.
    """
    exact, f1 = answer_scores(questions, predictions)
    answerable = np.array([bool(question.answers) for question in questions])

    def mean(values: np.ndarray, chosen: np.ndarray) -> float | None:
        return float(values[chosen].mean()) if chosen.any() else None

    return SquadScores(
        float(exact.mean()), float(f1.mean()), mean(exact, answerable), mean(f1, answerable),
        mean(exact, ~answerable),
    )  # fmt: skip


def answer_scores(
    questions: Sequence[Question], predictions: Mapping[str, str]
) -> tuple[np.ndarray, np.ndarray]:
    """Exact match and F1 of each question, two float arrays [n]."""
    exact, f1 = np.zeros(len(questions)), np.zeros(len(questions))
    for i, question in enumerate(questions):
        if question.id in predictions:
            answers = [a.text for a in question.answers if normal_answer(a.text)] or [""]
            exact[i] = exact_match(predictions[question.id], answers)
            f1[i] = word_f1(predictions[question.id], answers)
    return exact, f1


def best_null_threshold(
    f1_if_answered: np.ndarray, null_margin: np.ndarray, answerable: np.ndarray
) -> tuple[float, float]:
    """Choose above which margin to say "no answer", so that the mean F1 is highest.

    To be chosen on a held-out part and then kept: chosen on the part that is reported, it flatters.

    Args:
        f1_if_answered: [n], F1 of the best answer that is not empty.
        null_margin: [n], score of "no answer" less that of the best answer.
        answerable: [n], whether there is an answer.

    Returns:
        The threshold (a question whose margin is above it gets no answer; -inf: all of them) and
        the mean F1 it gives.
    """
    order = np.argsort(null_margin, kind="stable")
    gain = np.where(answerable, f1_if_answered, -1.0)[order]
    # After the first k of the order are answered; equal margins are answered together.
    total = float(np.sum(~answerable)) + np.concatenate([[0.0], np.cumsum(gain)])
    sorted_margin = null_margin[order]
    possible = np.concatenate([[True], sorted_margin[1:] != sorted_margin[:-1], [True]])
    best = int(np.argmax(np.where(possible, total, -np.inf)))
    threshold = -np.inf if best == 0 else float(sorted_margin[best - 1])
    return threshold, float(total[best]) / len(order)
