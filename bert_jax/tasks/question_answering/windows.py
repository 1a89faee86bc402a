"""Questions and long contexts as overlapping windows, with the characters each token covers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bert_jax.errors import UserError
from bert_jax.tasks.features import Features, features_of
from bert_jax.tasks.question_answering.squad import Question
from bert_jax.text.encoding import whole_spans
from bert_jax.text.inputs import Inputs
from bert_jax.text.tokenizer import Tokenizer

MOST_QUESTION_PIECES = 64  # as in Google's run_squad.py


@dataclass(frozen=True)
class WindowFeatures:
    """Windows of contexts as sequences `[CLS] question [SEP] window [SEP]`.

    `features.labels` holds the first and last token of the answer, counted from the window's
    [CLS]; both are 0, the [CLS], where the window does not hold the whole answer.
    """

    features: Features
    offsets: np.ndarray
    """int32 [T, 2], the characters of the context that a token stands for (`whole_spans`),
    half-open; -1 elsewhere."""
    questions: np.ndarray
    """int64 [n], which question each window belongs to; ascending."""


def window_features(
    questions: Sequence[Question], tokenizer: Tokenizer, max_length: int, overlap: int
) -> WindowFeatures:
    """Cut contexts into windows that share `overlap` pieces with their neighbours.

    ```
    context          a b c d e f g h i        room for 5 pieces, overlap 2
    windows          a b c d e
                           d e f g h
                                 g h i
    ```

    Args:
        questions: the first answer of each is the one that is learned.
        tokenizer: the model's.
        max_length: most tokens of a window, question and special pieces counted.
        overlap: pieces that two windows share, so that no answer is cut in both.

    Raises:
        UserError: the longest question leaves no more room than the overlap.
    """
    contexts = {question.context: number for number, question in enumerate(questions)}
    encoded = dict(zip(contexts, tokenizer.encode_batch(list(contexts)), strict=True))
    spans = {
        context: whole_spans(context, each.offsets[1:-1], tokenizer.removes)
        for context, each in encoded.items()
    }
    asked = tokenizer.encode_batch([question.question for question in questions])
    sequences: list[Inputs] = []
    labels: list[tuple[int, int]] = []
    offsets: list[np.ndarray] = []
    owners: list[int] = []
    for number, (question, words) in enumerate(zip(questions, asked, strict=True)):
        context = encoded[question.context]
        pieces = context.ids[1:-1]
        characters = spans[question.context]
        head = [*words.ids[:-1][: MOST_QUESTION_PIECES + 1], tokenizer.sep_id]
        room = max_length - len(head) - 1
        if room <= overlap:
            raise UserError(
                f"got max_length={max_length} with window_overlap={overlap}; expected more room: a"
                f" question takes {len(head) - 2} pieces and leaves {room} for the context"
            )
        answer = _answer_pieces(question, characters)
        for begin in range(0, max(len(pieces) - overlap, 1), room - overlap):
            end = min(begin + room, len(pieces))
            ids = [*head, *pieces[begin:end], tokenizer.sep_id]
            kinds = [0] * len(head) + [1] * (end - begin + 1)
            sequences.append(Inputs(ids, kinds, len(head) - 2, end - begin))
            owners.append(number)
            where = np.full((len(ids), 2), -1, np.int32)
            where[len(head) : -1] = characters[begin:end]
            offsets.append(where)
            inside = answer is not None and begin <= answer[0] and answer[1] < end
            shift = len(head) - begin
            labels.append((answer[0] + shift, answer[1] + shift) if answer and inside else (0, 0))
    return WindowFeatures(
        features_of(sequences, np.array(labels, np.int32).reshape(-1, 2)),
        np.concatenate(offsets),
        np.array(owners, np.int64),
    )


def _answer_pieces(question: Question, characters: np.ndarray) -> tuple[int, int] | None:
    """First and last piece that the first answer touches; None where there is none."""
    if not question.answers:
        return None
    start = question.answers[0].start
    end = start + len(question.answers[0].text)
    touched = np.flatnonzero((characters[:, 1] > start) & (characters[:, 0] < end))
    return (int(touched[0]), int(touched[-1])) if len(touched) else None
