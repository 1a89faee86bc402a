"""Tokenised documents as three flat arrays: what the loader reads."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Documents:
    """A split of a corpus: T pieces in sentences, sentences in documents.

    ```
    pieces           [ 7 8 9 | 4 4 || 5 6 7 8 ]     | ends a sentence, || a document
    sentence_starts  [ 0, 3, 5, 9 ]                 offsets into pieces, the last is T
    document_starts  [ 0, 2, 3 ]                    offsets into sentences
    ```
    """

    pieces: np.ndarray
    sentence_starts: np.ndarray
    document_starts: np.ndarray
