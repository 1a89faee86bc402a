"""The part of an inspection that takes the first attention layer apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bert_jax.analysis.first_attention import (
    INPUT_PARTS,
    LOGITS,
    OFFSETS,
    AttentionFigures,
    FirstAttention,
)
from bert_jax.analysis.inspection.finding import Finding, number_or_none, rounded
from bert_jax.analysis.inspection.inspected import Inspected
from bert_jax.analysis.report.attention_section import attention_section
from bert_jax.analysis.representation import SHORTEST_PAIR, pair_inputs
from bert_jax.config import BertConfig
from bert_jax.data.row_layout import Encoded
from bert_jax.text.tokenizer import Tokenizer

_LENGTH, _ROWS = 64, 64


@dataclasses.dataclass(frozen=True)
class _Row:
    ids: list[int]
    type_ids: list[int]


def rows_of_corpus(
    documents: Iterable[np.ndarray], tokenizer: Tokenizer, config: BertConfig,
    length: int, count: int,
) -> list[Encoded]:  # fmt: skip
    """Fill rows with text, [CLS] first half [SEP] second half [SEP], as pretraining does.

    Args:
        documents: pieces of one document each.
        tokenizer: whose pieces these are.
        config: of the model that will read them: where it has one segment, all is of that.
        length: of a row, at least 5.
        count: how many at most; fewer, or none, where the documents are short.
    """
    ids, segments, _ = pair_inputs(documents, tokenizer, length, count)
    segments = np.minimum(segments, config.type_vocab_size - 1)
    return [
        _Row(row.tolist(), types.tolist())
        for row, types in zip(
            ids.reshape(-1, length), segments.reshape(-1, length), strict=True
        )
    ]  # fmt: skip


def first_attention(inspected: Inspected) -> Finding | None:
    """Layer 1's heads over some rows of the corpus; None where its documents are too short."""
    assert inspected.text is not None and inspected.model is not None
    config = inspected.model.config
    length = min(_LENGTH, config.max_position_embeddings)
    if length < SHORTEST_PAIR:
        return None
    rows = rows_of_corpus(inspected.text.documents, inspected.tokenizer, config, length, _ROWS)
    if not rows:
        return None
    found = FirstAttention(config, inspected.model.params["bert"], inspected.parts).measure(rows)
    over = f"{len(rows)} rows of {length} pieces from {inspected.text.name}"
    return Finding(attention_section(found, over), {"over": over, **attention_numbers(found)})


def attention_numbers(found: AttentionFigures) -> dict[str, Any]:
    """The figures as JSON holds them, a head an item of `heads`."""
    heads: list[dict[str, Any]] = []
    grouped = found.grouped_shares()
    for head in range(len(found.shares)):
        places = {
            name: {
                **{kind: _with_interval(found.mass, found.mass_intervals, (row, head, at))
                   for row, kind in enumerate(LOGITS)},
                "because of positions": bool(found.because_of_positions[head, at]),
            }
            for at, name in enumerate(OFFSETS)
        }  # fmt: skip
        terms = {
            f"{query} to {key}": _with_interval(found.shares, found.share_intervals, (head, q, k))
            for q, query in enumerate(INPUT_PARTS)
            for k, key in enumerate(INPUT_PARTS[:-1])  # what is the same for every key has none
        }
        shares = {name: number_or_none(round(float(v[head]), 5)) for name, v in grouped.items()}
        heads.append({"shares": shares, "terms": terms, "attention": places})
    return {
        "texts": found.texts,
        "places": found.places,
        "uniform": dict(zip(OFFSETS, _finite(found.uniform), strict=True)),
        "largest_error": found.largest_error,
        "largest_logit": found.largest_logit,
        "heads": heads,
    }


def _with_interval(
    values: np.ndarray, intervals: np.ndarray, at: tuple[int, ...]
) -> dict[str, Any]:
    low, high = (_finite(bound[at])[0] for bound in intervals)
    return {"value": _finite(values[at])[0], "low": low, "high": high}


def _finite(values: np.ndarray) -> Sequence[Any]:
    return [number_or_none(value) for value in rounded(np.atleast_1d(values))]
