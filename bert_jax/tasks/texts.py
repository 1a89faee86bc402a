"""A text, or a pair of texts, and its label: what classification and regression have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from bert_jax.errors import UserError
from bert_jax.json_reading import shortened
from bert_jax.settings import names_in
from bert_jax.tasks.examples import Cleaning, Columns, Remark, Source, in_memory, table_of
from bert_jax.tasks.features import Features, features_of, from_arrays
from bert_jax.tasks.label_counts import without_labels
from bert_jax.tasks.lines import Line, LineError
from bert_jax.tasks.tables import Table, check_column, table_lines
from bert_jax.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class TextExample:
    """A text, perhaps a second one, and its label as it is in the data (None: unknown)."""

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
    labels = table_labels(table, label_column) if label_column else [None] * len(table)
    return [
        TextExample(text, pair, label, table.source, line)
        for text, pair, label, line in zip(texts, pairs, labels, table.lines, strict=True)
    ]


def table_labels(table: Table, column: str) -> list[Any]:
    """The labels in a column of a table.

    Raises:
        UserError: the column is not there, or a label is missing.
    """
    labels = table.column(column, "label_column")
    for label, line in zip(labels, table.lines, strict=True):
        if label is None:
            raise UserError(f"{table.source}, line {line}: got no {column}; expected a label")
    return labels


def check_labels(
    parts: Mapping[str, Sequence[TextExample]],
    good: Callable[[Any], bool],
    wanted: Callable[[Any], str],
) -> None:
    """Make sure that every example has a label that can be learned.

    Args:
        parts: the examples by part.
        good: whether a label can.
        wanted: what is expected instead of one that cannot.

    Raises:
        UserError: one has not; names the first line of its file.
    """
    bad = [example for part in parts.values() for example in part if not good(example.label)]
    if bad:
        first = min(bad, key=lambda example: (example.source != bad[0].source, example.line))
        more = f" ({len(bad) - 1:,} more are so)" if len(bad) > 1 else ""
        raise UserError(
            f"{first.source}, line {first.line}: got label {first.label!r}; expected"
            f" {wanted(first.label)}{more}"
        )


@dataclass(frozen=True)
class TextFeatures:
    """One sequence an example."""

    features: Features


def text_features(
    texts: Sequence[str],
    pairs: Sequence[str | None] | None,
    labels: np.ndarray,
    tokenizer: Tokenizer,
    max_length: int,
) -> TextFeatures:
    """Encode `[CLS] text [SEP]`, or `[CLS] text [SEP] pair [SEP]`.

    Args:
        texts: n texts.
        pairs: as many second texts, None where there is none; or None.
        labels: [n], int32 classes or float32 values.
        tokenizer: the model's.
        max_length: most tokens of a sequence; longer ones are cut, longest text first.
    """
    pairs = [None] * len(texts) if pairs is None else pairs
    alone = [text for text, pair in zip(texts, pairs, strict=True) if pair is None]
    one = iter(tokenizer.encode_batch(alone, None, max_length))
    both = [(text, pair) for text, pair in zip(texts, pairs, strict=True) if pair is not None]
    firsts, seconds = [text for text, _ in both], [pair for _, pair in both]
    two = iter(tokenizer.encode_batch(firsts, seconds, max_length))
    encodings = [next(one if pair is None else two) for pair in pairs]
    return TextFeatures(features_of(encodings, labels))


class TextTask:
    """How both kinds read their examples and make sequences of them."""

    max_length: int

    endings: ClassVar[tuple[str, ...]] = (".tsv", ".csv")
    options: ClassVar[frozenset[str]] = frozenset({"leave_out_labels"})

    @classmethod
    def read(cls, source: Source, columns: Columns) -> list[TextExample]:
        """See `Task`; columns are called text and label, and in memory pair."""
        rows = in_memory(source)
        if rows is not None and isinstance(rows[0], TextExample):
            return list(rows)
        labels = names_in(columns.label_columns) or ("label",)
        pairs = rows is not None and not isinstance(rows[0], str) and len(rows[0]) > 1 + len(labels)
        usual = ("text", "pair", *labels) if pairs else ("text", *labels)
        table = table_of(source, columns.columns, usual)
        pair = columns.text_pair_column
        if pair is None and rows is not None and "pair" in table.columns:
            pair = "pair"
        examples = text_examples(table, columns.text_column or "text", pair, None)
        given = zip(examples, cls.labels_of(table, columns), strict=True)
        return [dataclasses.replace(example, label=label) for example, label in given]

    @classmethod
    def labels_of(cls, table: Table, columns: Columns) -> list[Any]:
        """The label of each row of a table."""
        return table_labels(table, columns.label_column or "label")

    @classmethod
    def example(cls, line: Line, columns: Columns | None) -> TextExample:
        """See `Task`: a text, two with a tab between them, or an object with text and pair."""
        known = columns or Columns(text_pair_column="pair")
        name, pair_name = known.text_column or "text", known.text_pair_column
        if line.unit == "item":
            pair_name = pair_name or "pair"
        if line.content is not None:
            text = line.text(name)
            pair = line.content.get(pair_name) if pair_name else None
            if not isinstance(pair, str | None):
                raise line.wrong(
                    f"got {pair_name} = {shortened(repr(pair))}; expected a text, or none"
                )
            return TextExample(text, pair, None, line.source, line.number)
        if line.number == 1 and len(line.texts) > 1 and name in line.texts:
            raise line.wrong(
                f"got the names of columns, {', '.join(line.texts)}; expected a text (columns are"
                f" read from files whose names end in {', '.join(cls.endings)})"
            )
        if len(line.texts) > (2 if pair_name else 1):
            raise line.wrong(
                f"got {len(line.texts)} fields between tabs; expected a text, or two with a tab"
                " between them"
                if pair_name
                else f"got {len(line.texts)} fields between tabs; expected one text, as in training"
                " (or text_pair_column=pair for pairs)"
            )
        text, pair = (*line.texts, "")[:2]
        return TextExample(text.strip(), pair.strip() or None, None, line.source, line.number)

    @classmethod
    def lines(cls, path: str | Path, columns: Columns | None) -> Iterator[Line | LineError]:
        """See `Task`: the rows of a table."""
        known = columns or Columns()
        names, rows = table_lines(path, known.columns)
        check_column(str(path), names, known.text_column or "text", "text_column")
        if known.text_pair_column:
            check_column(str(path), names, known.text_pair_column, "text_pair_column")
        return rows

    @classmethod
    def cleaned(
        cls, parts: Mapping[str, list[TextExample]], how: Cleaning
    ) -> tuple[dict[str, list[TextExample]], list[Remark]]:
        """See `Task`: without the examples of some labels."""
        names = names_in(how.leave_out_labels)
        return without_labels(cls, parts, names) if names else (dict(parts), [])

    def remarks(self, parts: Mapping[str, list[TextExample]]) -> list[Remark]:
        """See `Task`."""
        return []

    @classmethod
    def label_values(cls, example: TextExample) -> Sequence[Any]:
        """The labels of an example, as they stand in the data."""
        return [example.label]

    def given_labels(self, examples: Sequence[TextExample]) -> list[str]:
        """See `Task`: there are no classes."""
        return []

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
        pairs = [example.pair for example in examples]
        return text_features(texts, pairs, labels, tokenizer, self.max_length)


def shown_example(example: TextExample, *, of_numbers: bool = False) -> dict[str, Any]:
    """What a prediction repeats of its example; `of_numbers` says that its label is one."""
    label = float(example.label) if of_numbers and example.label is not None else example.label
    pair = {} if example.pair is None else {"pair": example.pair}
    truth = {} if label is None else {"truth": label}
    return {"text": example.text, **pair, **truth}
