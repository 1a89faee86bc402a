"""Single texts and pairs as token sequences, for classification and regression."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bert_jax.tasks.features import Features, features_of
from bert_jax.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class TextFeatures:
    """One sequence an example."""

    features: Features


def text_features(
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    labels: np.ndarray,
    tokenizer: Tokenizer,
    max_length: int,
) -> TextFeatures:
    """Encode `[CLS] text [SEP]`, or `[CLS] text [SEP] pair [SEP]`.

    Args:
        texts: n texts.
        pairs: as many second texts, or None.
        labels: [n], int32 classes or float32 values.
        tokenizer: the model's.
        max_length: most tokens of a sequence; longer ones are cut, longest text first.
    """
    return TextFeatures(features_of(tokenizer.encode_batch(texts, pairs, max_length), labels))
