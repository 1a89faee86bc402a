"""One edit of embedding tables, or of the model they are in: pieces, positions, segment kinds."""

from __future__ import annotations

import dataclasses

from bert_jax.convert.contents import Pretrained
from bert_jax.errors import UserError
from bert_jax.tables.embedding_tables import EmbeddingTables
from bert_jax.tables.model_surgery import (
    ModelParts,
    move_model_vocabulary,
    put_model_words,
    resize_model_positions,
    resize_model_segments,
)
from bert_jax.tables.row_surgery import PositionRule, resize_positions, resize_segments
from bert_jax.tables.vocabulary_surgery import NewRows, VocabularyReport, move_vocabulary
from bert_jax.tables.word2vec import Word2vec, put_words
from bert_jax.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Edit:
    """How to change tables; what is None stays as it is.

        Edit(positions=1024).of_tables(load_tables("runs/books"))
        Edit(vocabulary=tokenizer).of_model(load_pretrained("runs/books"))

    Attributes:
        vocabulary: to move to.
        new_rows: how pieces that the old vocabulary lacks begin; None: as those spelled alike make
            likely (`SpellingRegression`).
        positions: rows of the position table.
        position_rule: how it gets longer.
        segments: rows of the segment table.
        copy_segment: the segment that new ones start as; None: the mean of all.
        words: word vectors, as from a file; pieces found there get their rows.

    Raises:
        UserError: `copy_segment` without `segments`; and when it is done: see `move_vocabulary`,
            `put_words`, `resized_positions` and `resized_segments`.
    """

    vocabulary: Tokenizer | None = None
    new_rows: NewRows | None = None
    positions: int | None = None
    position_rule: PositionRule = "copy"
    segments: int | None = None
    copy_segment: int | None = None
    words: Word2vec | None = None

    def __post_init__(self) -> None:
        if self.copy_segment is not None and self.segments is None:
            raise UserError(
                f"got copy_segment={self.copy_segment} without `segments`; expected how many there"
                " are to be"
            )

    def of_tables(self, tables: EmbeddingTables) -> tuple[EmbeddingTables, VocabularyReport | None]:
        """Return edited tables, and what became of every piece where the vocabulary changed."""
        report = None
        if self.vocabulary is not None:
            moved = move_vocabulary(tables, self.vocabulary, self.new_rows)
            tables, report = moved.tables, moved.report
        if self.words is not None:
            tables = tables.replace(token=put_words(tables.token, tables.tokenizer, self.words))
        if self.positions is not None:
            tables = resize_positions(tables, self.positions, self.position_rule)
        if self.segments is not None:
            tables = resize_segments(tables, self.segments, self.copy_segment)
        return tables, report

    def of_model(self, pretrained: Pretrained) -> tuple[Pretrained, VocabularyReport | None]:
        """Return an edited model, its MLM bias and decoder too, and the same report."""
        model, report = ModelParts(pretrained.config, pretrained.params, pretrained.tokenizer), None
        if self.vocabulary is not None:
            moved = move_model_vocabulary(model, self.vocabulary, self.new_rows)
            model, report = moved.model, moved.report
        if self.words is not None:
            model = put_model_words(model, self.words)
        if self.positions is not None:
            model = resize_model_positions(model, self.positions, self.position_rule)
        if self.segments is not None:
            model = resize_model_segments(model, self.segments, self.copy_segment)
        return dataclasses.replace(pretrained, **vars(model)), report
