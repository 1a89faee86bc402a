"""Multiple choice: each choice is a pair with its question, and one softmax goes over them."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from bert_jax.tasks.choice_files import ChoiceQuestion
from bert_jax.tasks.features import Features, features_of
from bert_jax.text.tokenizer import Tokenizer


def choice_features(
    questions: Sequence[ChoiceQuestion], tokenizer: Tokenizer, max_length: int
) -> Features:
    """Encode `[CLS] question [SEP] choice [SEP]` for each choice; a question is a unit.

    Args:
        questions: from `read_choices`.
        tokenizer: the model's.
        max_length: most tokens of a sequence; longer ones are cut, longest text first.
    """
    texts = [question.text for question in questions for _ in question.choices]
    choices = [choice for question in questions for choice in question.choices]
    labels = [
        float(number == question.answer)
        for question in questions
        for number in range(len(question.choices))
    ]
    return features_of(
        tokenizer.encode_batch(texts, choices, max_length),
        np.array(labels, np.float32),
        [len(question.choices) for question in questions],
    )


def choose(logits: np.ndarray, unit_starts: np.ndarray) -> list[np.ndarray]:
    """Return the probability of each choice of each question.

    Args:
        logits: [n], one a sequence.
        unit_starts: int64 [u + 1], see `Features`.
    """
    probabilities = []
    for begin, end in pairwise(unit_starts):
        e = np.exp(logits[begin:end].astype(np.float64) - logits[begin:end].max())
        probabilities.append(e / e.sum())
    return probabilities
