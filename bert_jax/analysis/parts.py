"""How much of the input representation comes from each of its three parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from bert_jax.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class PartShares:
    """Shares of the variance of token + segment + position; they add up to 1."""

    token: float
    segment: float
    position: float


def variance_shares(token: np.ndarray, segment: np.ndarray, position: np.ndarray) -> PartShares:
    """Divide the variance of the sum, over n input positions, among the three parts.

    A part's share is its covariance with the sum, over all D dimensions, by the variance of the
    sum: for parts that do not depend on each other, its own variance by that of all three.

    Args:
        token, segment, position: [n, D] rows as they were summed.
    """
    centred = [
        np.asarray(rows, np.float64) - np.mean(rows, axis=0, dtype=np.float64)
        for rows in (token, segment, position)
    ]
    total = centred[0] + centred[1] + centred[2]
    whole = max(float((total**2).sum()), 1e-300)
    return PartShares(*(float((part * total).sum()) / whole for part in centred))


def pair_inputs(
    documents: Iterable[np.ndarray], tokenizer: Tokenizer, length: int, rows: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fill input rows with text: [CLS] first half [SEP] second half [SEP], no padding.

    Args:
        documents: pieces [t] of one document each; read until there are enough rows.
        tokenizer: whose pieces these are.
        length: of a row, at least 5.
        rows: how many at most.

    Returns:
        Ids, segments and positions, each [n · length].
    """
    room = length - 3
    first = -(-room // 2)
    segments = np.repeat([0, 1], [first + 2, length - first - 2])
    found: list[np.ndarray] = []
    for document in documents:
        for start in range(0, len(document) - room + 1, room):
            if len(found) == rows:
                break
            a, b = np.split(document[start : start + room], [first])
            found.append(
                np.concatenate([[tokenizer.cls_id], a, [tokenizer.sep_id], b, [tokenizer.sep_id]])
            )
        if len(found) == rows:
            break
    ids = np.concatenate(found) if found else np.zeros(0, np.int64)
    return ids, np.tile(segments, len(found)), np.tile(np.arange(length), len(found))
