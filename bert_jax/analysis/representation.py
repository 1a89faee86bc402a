"""The input representation of one sentence or pair, taken apart: the paper's Figure 2 in numbers.

pieces       [CLS]  my  dog  is  cute  [SEP]  he  likes  play  ##ing  [SEP]
segments       0     0   0    0   0      0     1    1      1     1      1
positions      0     1   2    3   4      5     6    7      8     9      10
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from bert_jax.arguments import expect
from bert_jax.errors import UserError
from bert_jax.tables.embedding_tables import EmbeddingTables
from bert_jax.text.encoding import Encoding
from bert_jax.text.tokenizer import Tokenizer

PART_NAMES = ("token", "segment", "position")
SHORTEST_PAIR = 5  # [CLS] a [SEP] b [SEP]


@dataclasses.dataclass(frozen=True)
class Representation:
    """L input positions of width D.

    Attributes:
        pieces: L strings.
        ids, segments, positions: [L] the rows that are read from the three tables.
        parts: [3, L, D] the rows: token, segment, position.
        sum: [L, D] of the three.
        norms: [4, L] lengths of the parts and of the sum.
        cosines: [3, L] of each part to the sum.
    """

    pieces: tuple[str, ...]
    ids: np.ndarray
    segments: np.ndarray
    positions: np.ndarray
    parts: np.ndarray
    sum: np.ndarray
    norms: np.ndarray
    cosines: np.ndarray


def represent(
    embeddings: EmbeddingTables | Mapping[str, Any], encoding: Encoding
) -> Representation:
    """Look the three rows up for every position of an encoded text, and add them.

    Args:
        embeddings: from `load_tables`; or as a model's parameters hold them, `token`, `segment` and
            `position`, each with its `table`.
        encoding: from `Tokenizer.encode`.

    Raises:
        UserError: the text is longer than the position table, or a pair where there is only one
            segment.
    """
    expect("encoding", encoding, Encoding, "an encoded text, as tokenizer.encode gives it")
    wanted_tables = "embedding tables, as load_tables gives them"
    expect("embeddings", embeddings, (EmbeddingTables, Mapping), wanted_tables)
    if isinstance(embeddings, EmbeddingTables):
        embeddings = embeddings.to_params()
    tables = [np.asarray(embeddings[name]["table"], np.float32) for name in PART_NAMES]
    ids, segments = np.asarray(encoding.ids), np.asarray(encoding.type_ids)
    positions = np.arange(len(ids))
    rows = (ids, segments, positions)
    for name, table, wanted in zip(PART_NAMES, tables, rows, strict=True):
        if wanted.max() >= len(table):
            raise UserError(
                f"got a text that needs row {wanted.max()} of the {name} table; expected at most "
                f"row {len(table) - 1}, its last"
            )
    parts = np.stack([table[wanted] for table, wanted in zip(tables, rows, strict=True)])
    total = parts.sum(axis=0)
    norms = np.linalg.norm(np.concatenate([parts, total[None]]), axis=2)
    cosines = np.einsum("pld,ld->pl", parts, total) / np.maximum(norms[:3] * norms[3], 1e-30)
    return Representation(
        tuple(encoding.tokens), ids, segments, positions, parts, total, norms, cosines
    )


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

    Raises:
        UserError: rows are shorter.
    """
    if length < SHORTEST_PAIR:
        raise UserError(
            f"got rows of {length} pieces; expected at least {SHORTEST_PAIR}, as [CLS] a [SEP] b"
            " [SEP] has, of `length` and of the model's positions"
        )
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
