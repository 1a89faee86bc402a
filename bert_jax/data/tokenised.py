"""A document as pieces, and its head: all that must be known to choose documents for a corpus."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from bert_jax.data.example import encode_example


@dataclass(frozen=True)
class DocumentHead:
    """What a corpus needs to know of a document, a tenth of its size: everything but its pieces.

        text       "A TITLE\\n\\nOne day. He left."
        lines      |A TITLE|  |One day. He left.|        2 hashes, of 1 and 2 sentences
        sentences  |A TITLE|  |One day.|  |He left.|     lengths 2 3 3

    Attributes:
        name: where it came from.
        sentence_lengths: int32 [s], pieces of every sentence, none of them zero.
        line_hashes: uint64 [l], of the lines (paragraphs, where text is hard-wrapped).
        line_sentences: int32 [l], sentences of every line.
        line_unknown: int32 [l], how many pieces of every line are [UNK].
        content_hash: 64 bits of the whole text; the same for texts that differ in white space
            between lines only.
        characters: length of the text.
        bad_bytes: how often its bytes were not valid UTF-8.
        source_bytes: how much of its input it took.
        has_json, has_tags: whether its text begins with JSON objects, and holds closing tags.
    """

    name: str
    sentence_lengths: np.ndarray
    line_hashes: np.ndarray
    line_sentences: np.ndarray
    line_unknown: np.ndarray
    content_hash: int
    characters: int
    bad_bytes: int
    source_bytes: int
    has_json: bool
    has_tags: bool

    @cached_property
    def num_pieces(self) -> int:
        """How many pieces it has."""
        return int(self.sentence_lengths.sum())

    @property
    def unknown(self) -> int:
        """How many of its pieces are [UNK]."""
        return int(self.line_unknown.sum())

    def sentences_without(self, drop: np.ndarray) -> np.ndarray:
        """Return which sentences, bool [s], lie outside the lines that `drop`, bool [l], marks."""
        return np.repeat(~drop, self.line_sentences)

    def without_lines(self, drop: np.ndarray) -> Self:
        """Return the document without the lines that `drop`, bool [l], marks.

        lines      |A TITLE|  |One day. He left.|        drop = [True, False]
        sentences     -       |One day.| |He left.|
        """
        return replace(
            self,
            sentence_lengths=self.sentence_lengths[self.sentences_without(drop)],
            line_hashes=self.line_hashes[~drop],
            line_sentences=self.line_sentences[~drop],
            line_unknown=self.line_unknown[~drop],
        )


@dataclass(frozen=True)
class TokenisedDocument(DocumentHead):
    """One document as pieces.

        sentences  |A TITLE|  |One day.|  |He left.|
        pieces     a title     one day .   he left .     8 ids

    Attributes:
        pieces: int32 [n], sentence after sentence, without special pieces.
    """

    pieces: np.ndarray

    @cached_property
    def record(self) -> bytes:
        """The document as it is stored (`example.encode_example`)."""
        return encode_example(self.name, self.pieces, self.sentence_lengths)

    def without_lines(self, drop: np.ndarray) -> Self:
        """Return the document without the lines that `drop`, bool [l], marks."""
        kept = np.repeat(self.sentences_without(drop), self.sentence_lengths)
        return replace(super().without_lines(drop), pieces=self.pieces[kept])
