"""Tagging: a label for each word, learned at the first piece of the word."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bert_jax.errors import UserError
from bert_jax.tasks.features import NO_LABEL, Features, features_of
from bert_jax.text.inputs import Inputs
from bert_jax.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class TagFeatures:
    """Sentences as sequences, and where their words are.

    ```
    words              Yes        embeddings          .
    pieces     [CLS]   yes   em   ##bed   ##ding  ##s .   [SEP]
    labels       -1      0    1     -1      -1     -1  2     -1
    words                1    2                        6             first pieces, of all T tokens
    ```
    """

    features: Features
    words: np.ndarray
    """int64 [W], which token is the first piece of each word of all sentences, in their order."""


def tag_features(
    sentences: Sequence[Sequence[str]],
    labels: np.ndarray,
    tokenizer: Tokenizer,
    max_length: int,
) -> TagFeatures:
    """Encode sentences of words; every word gets a label, whatever the length of its sentence.

    A sentence that does not fit is cut between words into several sequences. A word without pieces
    (of control characters only) stands as [UNK], and one that fills a sequence alone is cut.

    Args:
        sentences: the words of each.
        labels: int32 [W], of all words in order.
        tokenizer: the model's.
        max_length: most tokens of a sequence, at least 3.

    Raises:
        UserError: `max_length` has no room for a word.
    """
    if max_length < 3:
        raise UserError(f"got max_length={max_length}; expected at least 3, [CLS] a word [SEP]")
    room = max_length - 2
    sequences: list[Inputs] = []
    words: list[int] = []
    begin = 0  # of the sequence that is being filled, in all tokens
    for sentence in sentences:
        ids = [tokenizer.cls_id]
        for word in sentence:
            pieces = tokenizer.piece_ids(word).tolist()[:room] or [tokenizer.unk_id]
            if len(ids) + len(pieces) + 1 > max_length:
                sequences.append(_closed(ids, tokenizer))
                begin += len(sequences[-1].ids)
                ids = [tokenizer.cls_id]
            words.append(begin + len(ids))
            ids += pieces
        sequences.append(_closed(ids, tokenizer))
        begin += len(sequences[-1].ids)
    token_labels = np.full(begin, NO_LABEL, np.int32)
    token_labels[words] = labels
    return TagFeatures(features_of(sequences, token_labels), np.array(words, np.int64))


def _closed(ids: list[int], tokenizer: Tokenizer) -> Inputs:
    ids = [*ids, tokenizer.sep_id]
    return Inputs(ids, [0] * len(ids), len(ids) - 2, 0)
