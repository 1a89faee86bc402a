"""From scores of tokens to answers: the n best stretches, and whether to answer at all."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bert_jax.tasks.question_answering.squad import Question
from bert_jax.tasks.question_answering.windows import WindowFeatures


@dataclass(frozen=True)
class Candidate:
    """A stretch of the context, exactly as it stands there; `score` is its two logits' sum."""

    text: str
    start: int
    score: float


@dataclass(frozen=True)
class Answered:
    """What was found for a question."""

    candidates: tuple[Candidate, ...]
    """Best first; at least one, unless the context is empty."""
    null_score: float
    """Of "no answer": the two logits' sum at [CLS], the lowest over all windows."""

    @property
    def null_margin(self) -> float:
        """How much better "no answer" scores than the best candidate."""
        return self.null_score - (self.candidates[0].score if self.candidates else -np.inf)

    def text(self, null_threshold: float = np.inf) -> str:
        """The answer; empty where the margin of "no answer" is above the threshold.

        SQuAD 1.1 always answers: the threshold is infinite.
        """
        if not self.candidates or self.null_margin > null_threshold:
            return ""
        return self.candidates[0].text

    def probabilities(self) -> np.ndarray:
        """Softmax over the candidates and, last, "no answer"."""
        scores = np.array([*(c.score for c in self.candidates), self.null_score])
        e = np.exp(scores - scores.max())
        return e / e.sum()


def find_answers(
    questions: Sequence[Question],
    windows: WindowFeatures,
    logits: np.ndarray,
    *,
    n_best: int = 20,
    max_pieces: int = 30,
) -> list[Answered]:
    """Find the n best answers of each question over all its windows.

    Args:
        questions: those that `windows` was made of.
        windows: from `window_features`.
        logits: float [T, 2], how well each token begins, and ends, an answer.
        n_best: candidates kept; also, how many first and last tokens of a window are paired.
        max_pieces: the most pieces of an answer.
    """
    found: list[dict[tuple[int, int], float]] = [{} for _ in questions]
    nulls = np.full(len(questions), np.inf)
    starts = windows.features.starts
    for window, question in enumerate(windows.questions):
        begin, end = starts[window], starts[window + 1]
        first, last = logits[begin:end, 0], logits[begin:end, 1]
        nulls[question] = min(nulls[question], float(first[0] + last[0]))
        offsets = windows.offsets[begin:end]
        context = np.flatnonzero(offsets[:, 0] >= 0)
        tops = context[np.argsort(-first[context], kind="stable")[:n_best]]
        ends = context[np.argsort(-last[context], kind="stable")[:n_best]]
        fits = (tops[:, None] <= ends) & (ends < tops[:, None] + max_pieces)
        for i, j in np.argwhere(fits):
            place = int(offsets[tops[i], 0]), int(offsets[ends[j], 1])
            score = float(first[tops[i]] + last[ends[j]])
            if score > found[question].get(place, -np.inf):
                found[question][place] = score
    answered = []
    for question, stretches, null in zip(questions, found, nulls, strict=True):
        best = sorted(stretches.items(), key=lambda item: (-item[1], item[0]))[:n_best]
        candidates = tuple(
            Candidate(question.context[begin:end], begin, score) for (begin, end), score in best
        )
        answered.append(Answered(candidates, float(null)))
    return answered
