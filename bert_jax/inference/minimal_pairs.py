"""Minimal pairs: does a masked LM find the sentence that is right likelier than the one beside it?

    {"sentence_good": "The cats sleep.", "sentence_bad": "The cats sleeps.", "UID": …}

Warstadt et al. 2020 (BLiMP, https://arxiv.org/abs/1912.00582), with the pseudo-log-likelihood of
`sentence_scores` for the probability of a sentence. A pair counts as right where the score of the
good sentence is the higher one; a tie is wrong.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax.errors import UserError
from bert_jax.inference.sentence_scores import SentenceScorer
from bert_jax.statistics import wilson_interval
from bert_jax.tasks.lines import Line, LineError, each_example, each_line

_MOST_IDENTICAL = 0.01
"""The share of a file's pairs that may be one sentence twice: BLiMP has up to 5 in 1,000."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two sentences, of which one is right.

    Attributes:
        good, bad: the sentences.
        paradigm: the kind of pair, BLiMP's `UID`; by default the name of the file.
        phenomenon: the kind of paradigm, BLiMP's `linguistics_term`; by default the paradigm.
        place: where it was read, for errors.
    """

    good: str
    bad: str
    paradigm: str
    phenomenon: str
    place: str


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """How many of some pairs are right, and how many ties are among the wrong ones."""

    pairs: int
    right: int
    ties: int

    @property
    def share(self) -> float:
        """Right ones of all."""
        return self.right / self.pairs

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share (Wilson)."""
        return wilson_interval(self.right, self.pairs)


@dataclasses.dataclass(frozen=True)
class JudgedPairs:
    """What a model says about pairs.

    Attributes:
        pairs: n of them.
        scores: of the good and of the bad sentence, in nats, [n, 2].
    """

    pairs: Sequence[Pair]
    scores: np.ndarray

    @property
    def accuracy(self) -> Accuracy:
        """Over all pairs, each counting the same."""
        return self._of(range(len(self.pairs)))

    def by_paradigm(self) -> dict[str, Accuracy]:
        """Of each paradigm, in the order in which they come."""
        return self._by(lambda pair: pair.paradigm)

    def by_phenomenon(self) -> dict[str, Accuracy]:
        """Of each phenomenon, over all its pairs."""
        return self._by(lambda pair: pair.phenomenon)

    def _by(self, name_of: Callable[[Pair], str]) -> dict[str, Accuracy]:
        numbers: dict[str, list[int]] = {}
        for number, pair in enumerate(self.pairs):
            numbers.setdefault(name_of(pair), []).append(number)
        return {name: self._of(found) for name, found in numbers.items()}

    def _of(self, numbers: Iterable[int]) -> Accuracy:
        good, bad = self.scores[list(numbers)].T
        return Accuracy(len(good), int((good > bad).sum()), int((good == bad).sum()))

    def rows(self) -> Iterable[dict[str, Any]]:
        """Each pair with its scores, JSON-able."""
        for pair, (good, bad) in zip(self.pairs, self.scores.tolist(), strict=True):
            yield {
                "paradigm": pair.paradigm,
                "sentence_good": pair.good,
                "sentence_bad": pair.bad,
                "score_good": round(good, 6),
                "score_bad": round(bad, 6),
            }


def read_pairs(paths: Iterable[str | os.PathLike[str]]) -> list[Pair]:
    """Read files of minimal pairs: JSON lines, which may be gzipped.

    Args:
        paths: of the files. An object has `sentence_good` and `sentence_bad`, and may have `UID`
            and `linguistics_term`.

    Raises:
        UserError: no such file, a line that is not such an object, a file without one, or one in
            which the same sentence is both good and bad in more than one pair of a hundred.
    """
    return [pair for path in paths for pair in _read_file(os.fspath(path))]


def _read_file(path: str) -> list[Pair]:
    pairs = []
    for line in each_example(path, each_line(path), objects=True):
        if isinstance(line, LineError):
            raise line
        pairs.append(_pair(line, Path(path).name.removesuffix(".gz").removesuffix(".jsonl")))
    if not pairs:
        raise UserError(f"got {path}, which is empty; expected one pair per line")
    same = [pair for pair in pairs if pair.good == pair.bad]
    if len(same) > _MOST_IDENTICAL * len(pairs):
        raise UserError(
            f"{same[0].place}: got {same[0].good!r} as both sentences ({len(same):,} such of"
            f" {len(pairs):,} pairs there); expected two that differ"
        )
    return pairs


def _pair(line: Line, file: str) -> Pair:
    content = line.content or {}
    paradigm = line.text("UID") if "UID" in content else file
    phenomenon = line.text("linguistics_term") if "linguistics_term" in content else paradigm
    good, bad = line.text("sentence_good"), line.text("sentence_bad")
    return Pair(good, bad, paradigm, phenomenon, line.place)


def judge_pairs(
    scorer: SentenceScorer,
    pairs: Sequence[Pair],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> JudgedPairs:
    """Score both sentences of every pair.

    A sentence that occurs several times is scored once. Pairs whose sentences have the same
    pieces, as where a vocabulary is uncased or lacks the words, are ties.

    Args:
        scorer: of the model.
        pairs: from `read_pairs`.
        progress: told how many tokens of masked copies are done, and how many there are to do.

    Raises:
        UserError: a sentence without a piece, or longer than the model; says where it is.
    """
    numbers: dict[bytes, int] = {}
    texts: list[str] = []
    which = np.zeros((len(pairs), 2), np.int64)
    sizes: list[int] = []
    for row, pair in enumerate(pairs):
        for side, text in enumerate((pair.good, pair.bad)):
            sentence = scorer.read(text)
            if sentence.error:
                raise UserError(f"{pair.place}: {sentence.error}")
            which[row, side] = numbers.setdefault(sentence.ids.tobytes(), len(numbers))
            if len(numbers) > len(texts):
                texts.append(text)
                sizes.append(len(sentence.ids))
    tokens = np.array(sizes, np.int64) * (np.array(sizes, np.int64) + 2)
    order = np.argsort(tokens, kind="stable")  # rows of a batch are of one length
    scores, done, total = np.zeros(len(texts)), 0, int(tokens.sum())
    for number, found in zip(order, scorer.score(texts[i] for i in order), strict=True):
        scores[number] = found.score
        done += int(tokens[number])
        progress(done, total)
    return JudgedPairs(pairs, scores[which])
