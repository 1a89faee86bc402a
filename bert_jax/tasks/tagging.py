"""Tagging: a label for each word, learned at the first piece of the word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from bert_jax.convert.contents import Pretrained
from bert_jax.data.row_layout import Batch, Rows, token_places
from bert_jax.errors import UserError
from bert_jax.model.task_heads import BertForTokenClassification
from bert_jax.tasks.entities import TagScheme, entity_f1, tag_scheme
from bert_jax.tasks.examples import Cleaning, Columns, Remark, Source, in_memory, tfds_split
from bert_jax.tasks.features import NO_LABEL, Features, features_of, from_arrays
from bert_jax.tasks.heads import Head, class_sums, output_logits
from bert_jax.tasks.labels import label_ids, label_names
from bert_jax.tasks.lines import Line, LineError
from bert_jax.tasks.report import Confusion, Mistake, Mistakes, Shown, Table
from bert_jax.tasks.tagged_files import (
    TaggedSentence,
    column_number,
    column_sentences,
    conllu_sentences,
    read_columns,
    read_conllu,
    read_tfds_tags,
    sentences_of,
    words_of,
)
from bert_jax.tasks.task import class_names, softmax
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
    """A label for each word. Scored by entities if the labels mark any, else by words."""

    labels: tuple[str, ...]
    max_length: int
    source: str = "the data"

    name: ClassVar[str] = "tagging"
    head: ClassVar[Head] = HEAD
    options: ClassVar[frozenset[str]] = frozenset()
    endings: ClassVar[tuple[str, ...]] = (
        ".conllu", ".conll", ".conll2002", ".conll2003", ".tsv", ".bio", ".iob", ".iob2", ".bioes",
    )  # fmt: skip

    @classmethod
    def read(cls, source: Source, columns: Columns) -> list[TaggedSentence]:
        """See `Task`: a file of columns, CoNLL-U, TFDS, or (words, tags) in memory."""
        if (rows := in_memory(source)) is not None:
            return sentences_of(rows, columns)
        if (split := tfds_split(source)) is not None:
            words, tags = columns.text_column or "tokens", columns.label_column or "ner"
            return read_tfds_tags(*split, words, tags)
        assert isinstance(source, str | Path)
        if _is_conllu(source):
            return read_conllu(source, columns.label_column or "upos")
        return read_columns(source, column_number(columns.label_column))

    @classmethod
    def example(cls, line: Line, columns: Columns | None) -> TaggedSentence:
        """See `Task`: words between spaces, or an object with words."""
        if line.content is not None:
            words = line.list_of_texts(_words_column(columns))
        elif line.unit == "line" and len(line.texts) > 1:
            raise line.wrong(
                f"got {len(line.texts)} fields between tabs; expected words between spaces (format="
                "training reads one word per line, as training does)"
            )
        else:
            words = tuple(words_of(" ".join(line.texts)))
        if not words:
            raise line.wrong("got no words; expected at least one")
        return TaggedSentence(words, (), (line.number,) * len(words))

    @classmethod
    def lines(cls, path: str | Path, columns: Columns | None) -> Iterator[Line | LineError]:
        """See `Task`: the sentences of a file of columns, or of CoNLL-U."""
        found = (conllu_sentences if _is_conllu(path) else column_sentences)(path)
        for sentence in found:
            if isinstance(sentence, LineError):
                yield sentence
            else:
                content = {_words_column(columns): list(sentence.words)}
                yield Line(str(path), sentence.lines[0], (), content)

    @classmethod
    def cleaned(
        cls, parts: Mapping[str, list[TaggedSentence]], how: Cleaning
    ) -> tuple[dict[str, list[TaggedSentence]], list[Remark]]:
        """See `Task`."""
        return dict(parts), []

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

    @cached_property
    def scheme(self) -> TagScheme | None:
        """How the labels mark entities; None where they do not."""
        return tag_scheme(self.labels)

    def remarks(self, parts: Mapping[str, list[TaggedSentence]]) -> list[Remark]:
        """See `Task`: how the tags are read, and what follows for the scores."""
        if self.scheme is None:
            some = ", ".join(self.labels[:4]) + (", …" if len(self.labels) > 4 else "")
            said = f"tags mark no entities ({some}): no entity F1, models are chosen by accuracy"
            return [Remark(said, {"tag_scheme": None})]
        said = f"tags mark entities in {self.scheme}: models are chosen by entity F1"
        return [Remark(said, {"tag_scheme": asdict(self.scheme)})]

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
        if self.scheme is None:
            return {"accuracy": accuracy}
        predicted = self._tags(examples, at_words)
        truth = [sentence.tags for sentence in examples]
        found = entity_f1(predicted, truth, self.scheme)["all"]
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
        if self.scheme is not None:
            table: list[tuple[str, ...]] = [
                (name, f"{s.precision:.3f}", f"{s.recall:.3f}", f"{s.f1:.3f}", str(s.support))
                for name, s in entity_f1(predicted, truth, self.scheme).items()
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


def _is_conllu(path: str | Path) -> bool:
    return str(path).removesuffix(".gz").endswith(".conllu")


def _words_column(columns: Columns | None) -> str:
    return (columns and columns.text_column) or "words"
