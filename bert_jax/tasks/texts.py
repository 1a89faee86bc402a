"""A text, or a pair of texts, and its label: what classification and regression have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from bert_jax.errors import UserError
from bert_jax.tasks.examples import Columns, Line, Source, in_memory, table_of
from bert_jax.tasks.features import Features, features_of, from_arrays
from bert_jax.tasks.tables import Table
from bert_jax.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class TextExample:
    """A text, perhaps a second one, and its label as it stands in the data (None: unknown)."""

    text: str
    pair: str | None
    label: Any
    source: str
    line: int


def text_examples(
    table: Table, text_column: str, pair_column: str | None, label_column: str | None
) -> list[TextExample]:
    """Take texts and labels out of a table.

    Raises:
        UserError: a column is not there, or holds no texts, or a label is missing.
    """
    texts = table.texts(text_column, "text_column")
    pairs = table.texts(pair_column, "text_pair_column") if pair_column else [None] * len(table)
    labels = table.column(label_column, "label_column") if label_column else [None] * len(table)
    for label, line in zip(labels, table.lines, strict=True):
        if label_column and label is None:
            raise UserError(f"{table.source}, line {line}: got no {label_column}; expected a label")
    return [
        TextExample(text, pair, label, table.source, line)
        for text, pair, label, line in zip(texts, pairs, labels, table.lines, strict=True)
    ]


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


class TextTask:
    """How both kinds read their examples and make sequences of them."""

    max_length: int

    @classmethod
    def read(cls, source: Source, columns: Columns) -> list[TextExample]:
        """See `Task`; columns are called text and label, and in memory pair."""
        rows = in_memory(source)
        if rows is not None and isinstance(rows[0], TextExample):
            return list(rows)
        pairs = rows is not None and not isinstance(rows[0], str) and len(rows[0]) > 2
        usual = ("text", "pair", "label") if pairs else ("text", "label")
        table = table_of(source, columns.columns, usual)
        pair = columns.text_pair_column
        if pair is None and rows is not None and "pair" in table.columns:
            pair = "pair"
        return text_examples(
            table, columns.text_column or "text", pair, columns.label_column or "label"
        )

    @classmethod
    def example(cls, line: Line, columns: Columns) -> TextExample:
        """See `Task`: a text, two with a tab between them, or an object with text and pair."""
        if line.content is None:
            text, pair = (*line.texts, "")[:2]
            return TextExample(text.strip(), pair.strip() or None, None, line.source, line.number)
        text = line.member(columns.text_column or "text", str)
        second = line.content.get(columns.text_pair_column or "pair")
        return TextExample(text, second, None, line.source, line.number)

    def given_labels(self, examples: Sequence[TextExample]) -> list[str]:
        """See `Task`."""
        return [str(example.label) for example in examples]

    def restored(self, arrays: dict[str, np.ndarray]) -> TextFeatures:
        """See `Task`."""
        return TextFeatures(Features(**from_arrays(arrays, "features")))

    def calibrated(
        self, examples: Sequence[TextExample], prepared: TextFeatures, logits: np.ndarray
    ) -> Self:
        """See `Task`: nothing is to be chosen."""
        return self

    def _features(
        self, examples: Sequence[TextExample], labels: np.ndarray, tokenizer: Tokenizer
    ) -> TextFeatures:
        texts = [example.text for example in examples]
        pairs = [example.pair for example in examples if example.pair is not None]
        return text_features(texts, pairs or None, labels, tokenizer, self.max_length)


def shown_example(example: TextExample) -> dict[str, Any]:
    """What a prediction repeats of its example."""
    pair = {} if example.pair is None else {"pair": example.pair}
    truth = {} if example.label is None else {"truth": example.label}
    return {"text": example.text, **pair, **truth}
