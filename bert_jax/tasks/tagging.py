"""Tagging: a label for each word, learned at the first piece of the word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from bert_jax.convert.contents import Pretrained
from bert_jax.data.row_layout import Batch, Rows, token_places
from bert_jax.errors import UserError
from bert_jax.model.task_heads import BertForTokenClassification
from bert_jax.tasks.entities import entity_f1, has_entities
from bert_jax.tasks.examples import Columns, Line, Source, in_memory, tfds_split
from bert_jax.tasks.features import NO_LABEL, Features, features_of, from_arrays
from bert_jax.tasks.heads import Head, class_sums, output_logits
from bert_jax.tasks.labels import label_ids, label_names
from bert_jax.tasks.lines import numbered_lines
from bert_jax.tasks.report import Confusion, Mistake, Mistakes, Shown, Table
from bert_jax.tasks.tables import table_of_rows
from bert_jax.tasks.task import class_names, softmax
from bert_jax.tasks.tfds import as_plain, as_text, open_split
from bert_jax.text.inputs import Inputs
from bert_jax.text.tokenizer import Tokenizer

_CONLLU_COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")


@dataclass(frozen=True)
class TaggedSentence:
    """Words and their tags, one each; word i was read from line `lines[i]`.

    Without tags (in prediction) `tags` is empty.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...]
    lines: tuple[int, ...]


def read_columns(path: str | Path, tag_column: int = -1) -> list[TaggedSentence]:
    r"""Read a file with a word a line, its columns between tabs or spaces, the word first.

        EU      NNP  B-NP  B-ORG
        rejects VBZ  B-VP  O        an empty line ends a sentence; lines that begin with
                                    -DOCSTART- belong to none

    Args:
        path: the file. Where a tab stands anywhere in a line, tabs part its columns.
        tag_column: which column holds the tag, from 0; -1 is the last.

    Raises:
        UserError: a line without a word or a tag, with its number.
    """
    words: list[str] = []
    tags: list[str] = []
    lines: list[int] = []
    sentences: list[TaggedSentence] = []
    width = 0
    for number, line in [*numbered_lines(path), (0, "")]:
        if not line.strip():
            if words:
                sentences.append(TaggedSentence(tuple(words), tuple(tags), tuple(lines)))
            words, tags, lines = [], [], []
            continue
        if line.startswith("-DOCSTART-"):
            continue
        columns = [c.strip() for c in line.split("\t")] if "\t" in line else line.split()
        width = width or len(columns)
        needed = max(tag_column + 1, 2)
        if len(columns) != width or width < needed or not columns[0] or not columns[tag_column]:
            raise UserError(
                f"{path}, line {number}: got {line!r}, {len(columns)} columns; expected"
                f" {max(width, needed)}, a word first and its tag in column {tag_column}"
            )
        words.append(columns[0])
        tags.append(columns[tag_column])
        lines.append(number)
    return _not_empty(sentences, path)


def read_conllu(path: str | Path, tag_column: str = "upos") -> list[TaggedSentence]:
    """Read a file of Universal Dependencies (https://universaldependencies.org/format.html).

    The words are the syntactic words, ids 1, 2, 3 …: lines of surface tokens that hold several
    words ("2-3") and of empty nodes ("8.1") are left out, as in every tagger's evaluation.

    Args:
        path: the file.
        tag_column: upos, xpos, or another of the ten columns.

    Raises:
        UserError: no such column, or a line without ten columns, with its number.
    """
    if tag_column not in _CONLLU_COLUMNS[2:]:
        raise UserError(
            f"got label_column={tag_column} for {path}; expected one of"
            f" {', '.join(_CONLLU_COLUMNS[2:])}"
        )
    return _not_empty(list(_conllu_sentences(path, _CONLLU_COLUMNS.index(tag_column))), path)


def _conllu_sentences(path: str | Path, tag: int) -> Iterator[TaggedSentence]:
    rows: list[tuple[str, str, int]] = []
    for number, line in [*numbered_lines(path), (0, "")]:
        if not line.strip():
            if rows:
                words, tags, lines = zip(*rows, strict=True)
                yield TaggedSentence(words, tags, lines)
            rows = []
            continue
        if line.startswith("#"):
            continue
        columns = line.split("\t")
        if len(columns) != len(_CONLLU_COLUMNS) or not columns[1].strip():
            raise UserError(
                f"{path}, line {number}: got {len(columns)} columns between tabs; expected the"
                f" {len(_CONLLU_COLUMNS)} of CoNLL-U"
            )
        if columns[0].isdecimal():
            rows.append((columns[1], columns[tag], number))


def _not_empty(sentences: list[TaggedSentence], path: str | Path) -> list[TaggedSentence]:
    if not sentences:
        raise UserError(f"got {path}, which has no sentences; expected at least one")
    return sentences


def read_tfds_tags(
    name: str, split: str, word_column: str, tag_column: str
) -> list[TaggedSentence]:
    """Return a split of a dataset like `conll2003` as tagged sentences."""
    features, records = open_split(name, split)
    for column in (word_column, tag_column):
        if column not in features:
            raise UserError(
                f"got column {column!r} for tfds:{name}; expected one of {', '.join(features)}"
            )
    tags = features[tag_column].feature
    sentences = []
    for number, record in enumerate(records, 1):
        words = tuple(as_text(word) for word in record[word_column])
        if words:
            names = tuple(str(as_plain(tag, tags)) for tag in record[tag_column])
            sentences.append(TaggedSentence(words, names, (number,) * len(words)))
    return sentences


def _of_rows(rows: Sequence[Any], columns: Columns) -> list[TaggedSentence]:
    if isinstance(rows[0], TaggedSentence):
        return list(rows)
    words, tags = columns.text_column or "words", columns.label_column or "tags"
    table = table_of_rows(rows, (words, tags))
    sentences = []
    for line, own, given in zip(
        table.lines, table.column(words, "text_column"), table.column(tags, "label_column"),
        strict=True,
    ):  # fmt: skip
        if isinstance(own, str) or not own or len(own) != len(given):
            raise UserError(
                f"{table.source}, item {line}: got {own!r} with tags {given!r}; expected a list of"
                " words and as many tags"
            )
        sentences.append(TaggedSentence(tuple(own), tuple(map(str, given)), (line,) * len(own)))
    return sentences


def _column_number(column: str | None) -> int:
    if column is None:
        return -1
    try:
        return int(column)
    except ValueError:
        raise UserError(
            f"got label_column={column} for a file of columns; expected a number from 0, or -1"
            " for the last"
        ) from None


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


def token_labels(features: Features, rows: Rows, unit_size: int = 1) -> Batch:
    """`labels` [B, L] of tokens, with `weights` [B, L] 0 at tokens without one.

    `share` [B], the same in each row, is how many labels there are for one that a full batch has on
    average: batches of short sequences have few. The mean over a batch's labels times its share
    gives each of an epoch the same weight.
    """
    del unit_size
    source, place = token_places(features, rows)
    labels = np.full((len(rows.sequences), rows.length), NO_LABEL, np.int32)
    labels.reshape(-1)[place] = features.labels[source]
    present = labels != NO_LABEL
    average = np.count_nonzero(features.labels != NO_LABEL) / len(features)
    share = present.sum() / max(average * (rows.full or rows.sequences.size), 1e-9)
    return {
        "labels": np.where(present, labels, 0),
        "weights": present.astype(np.float32),
        "share": np.full(len(labels), share, np.float32),
    }


HEAD = Head(
    "BertForTokenClassification", BertForTokenClassification, token_labels, output_logits,
    class_sums, per_token=True,
)  # fmt: skip


@dataclass(frozen=True)
class Tagging:
    """A label for each word. Measured by entities where the labels mark such, else by words."""

    labels: tuple[str, ...]
    max_length: int
    source: str = "the data"

    name: ClassVar[str] = "tagging"
    head: ClassVar[Head] = HEAD

    @classmethod
    def read(cls, source: Source, columns: Columns) -> list[TaggedSentence]:
        """See `Task`: a file of columns, CoNLL-U, TFDS, or (words, tags) in memory."""
        if (rows := in_memory(source)) is not None:
            return _of_rows(rows, columns)
        if (split := tfds_split(source)) is not None:
            words, tags = columns.text_column or "tokens", columns.label_column or "ner"
            return read_tfds_tags(*split, words, tags)
        assert isinstance(source, str | Path)
        if str(source).removesuffix(".gz").endswith(".conllu"):
            return read_conllu(source, columns.label_column or "upos")
        return read_columns(source, _column_number(columns.label_column))

    @classmethod
    def example(cls, line: Line, columns: Columns) -> TaggedSentence:
        """See `Task`: words between spaces, or an object with words."""
        words = " ".join(line.texts).split() if line.content is None else line.member("words", list)
        return TaggedSentence(tuple(map(str, words)), (), (line.number,) * len(words))

    @classmethod
    def of_examples(
        cls,
        parts: Mapping[str, list[TaggedSentence]],
        max_length: int,
        window_overlap: int | None = None,
    ) -> Self:
        """See `Task`; a rare tag that training lacks is the model's mistake, not the user's."""
        sentences = chain.from_iterable(parts.values())
        return cls(label_names(tag for sentence in sentences for tag in sentence.tags), max_length)

    @classmethod
    def fits(cls, pretrained: Pretrained) -> bool:
        """See `Task`."""
        return pretrained.architecture == HEAD.architecture

    @classmethod
    def of_checkpoint(cls, pretrained: Pretrained, settings: Mapping[str, Any]) -> Self:
        """See `Task`."""
        return cls(class_names(pretrained), **settings)

    @property
    def settings(self) -> dict[str, Any]:
        """See `Task`."""
        return {"max_length": self.max_length}

    def given_labels(self, examples: Sequence[TaggedSentence]) -> list[str]:
        """See `Task`."""
        return [tag for sentence in examples for tag in sentence.tags]

    def prepare(self, examples: Sequence[TaggedSentence], tokenizer: Tokenizer) -> TagFeatures:
        """See `Task`; raises `UserError` for a tag that is none of `labels`."""
        words = sum(len(sentence.words) for sentence in examples)
        ids = np.full(words, NO_LABEL, np.int32)
        tags = [tag for sentence in examples for tag in sentence.tags]
        if tags:
            lines = [line for sentence in examples for line in sentence.lines]
            ids = label_ids(tags, self.labels, self.source, lines)
        return tag_features([s.words for s in examples], ids, tokenizer, self.max_length)

    def restored(self, arrays: dict[str, np.ndarray]) -> TagFeatures:
        """See `Task`."""
        return TagFeatures(Features(**from_arrays(arrays, "features")), **from_arrays(arrays))

    def calibrated(
        self, examples: Sequence[TaggedSentence], prepared: TagFeatures, logits: np.ndarray
    ) -> Self:
        """See `Task`: nothing is to be chosen."""
        return self

    def scores(
        self, examples: Sequence[TaggedSentence], prepared: TagFeatures, logits: np.ndarray
    ) -> dict[str, float]:
        """See `Task`: F1 of entities and accuracy of words, or the latter alone."""
        at_words = logits[prepared.words].argmax(axis=-1)
        accuracy = float(np.mean(at_words == prepared.features.labels[prepared.words]))
        if not has_entities(self.labels):
            return {"accuracy": accuracy}
        predicted = self._tags(examples, at_words)
        found = entity_f1(predicted, [sentence.tags for sentence in examples])["all"]
        return {
            "entity_f1": found.f1,
            "entity_precision": found.precision,
            "entity_recall": found.recall,
            "accuracy": accuracy,
        }

    def predictions(
        self, examples: Sequence[TaggedSentence], prepared: TagFeatures, logits: np.ndarray
    ) -> Iterator[dict[str, Any]]:
        """See `Task`: the tag of each word, and its probability."""
        probabilities = softmax(logits[prepared.words])
        best = probabilities.argmax(axis=-1)
        sure = probabilities.max(axis=-1)
        ends = np.cumsum([0, *(len(sentence.words) for sentence in examples)])
        tags = self._tags(examples, best)
        for sentence, mine, (begin, end) in zip(examples, tags, pairwise(ends), strict=True):
            truth = {"truth": list(sentence.tags)} if sentence.tags else {}
            yield {
                "words": list(sentence.words),
                **truth,
                "tags": mine,
                "scores": sure[begin:end].tolist(),
            }

    def shown(self, predictions: Sequence[dict[str, Any]]) -> list[Shown]:
        """See `Task`: scores of entities where there are such, confusion of tags, mistakes."""
        predicted, truth = ([row[name] for row in predictions] for name in ("tags", "truth"))
        parts: list[Shown] = []
        if has_entities(self.labels):
            table: list[tuple[str, ...]] = [
                (name, f"{s.precision:.3f}", f"{s.recall:.3f}", f"{s.f1:.3f}", str(s.support))
                for name, s in entity_f1(predicted, truth).items()
            ]
            parts.append(Table(("entity", "precision", "recall", "F1", "how many"), table))
        wrong = [
            Mistake(score, word, " ".join(row["words"]), true, tag)
            for row in predictions
            for word, true, tag, score in zip(
                row["words"], row["truth"], row["tags"], row["scores"], strict=True
            )
            if true != tag
        ]
        every = Confusion(list(chain.from_iterable(truth)), list(chain.from_iterable(predicted)))
        return [*parts, every, Mistakes(wrong, ("word", "in"))]

    def _tags(self, examples: Sequence[TaggedSentence], ids: np.ndarray) -> list[list[str]]:
        names = iter([self.labels[i] for i in ids])
        return [[next(names) for _ in sentence.words] for sentence in examples]
