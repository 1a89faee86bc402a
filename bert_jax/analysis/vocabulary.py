"""How well a vocabulary fits a text: pieces a word, characters a piece, bits without context."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from bert_jax.statistics import unigram_entropy
from bert_jax.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class VocabularyFit:
    """A text in the pieces of a vocabulary; all but `unknown_share` leave [UNK] out.

    Attributes:
        fertility: pieces per word.
        characters_per_piece: "##" does not count, nor do spaces.
        unknown_share: of all pieces, 0 … 1.
        unigram_bits_per_character: the least that a model without context can reach.
    """

    fertility: float
    characters_per_piece: float
    unknown_share: float
    unigram_bits_per_character: float


def vocabulary_fit(tokenizer: Tokenizer, pieces: np.ndarray) -> VocabularyFit:
    """Measure a text.

    Args:
        tokenizer: it was cut with.
        pieces: int [T], its pieces, with no special ones but [UNK].
    """
    pieces = np.asarray(pieces)
    known = pieces[pieces != tokenizer.unk_id]
    characters = int(piece_characters(tokenizer)[known].sum())
    words = int((~tokenizer.is_continuation[known]).sum())
    bits = unigram_entropy(known) / math.log(2) * len(known)
    return VocabularyFit(
        fertility=len(known) / words,
        characters_per_piece=characters / len(known),
        unknown_share=1 - len(known) / len(pieces),
        unigram_bits_per_character=bits / characters,
    )


def piece_characters(tokenizer: Tokenizer) -> np.ndarray:
    """Int [V]: characters of the text that a piece stands for; 0 for the special ones."""
    lengths = np.array([len(piece) for piece in tokenizer.pieces])
    lengths -= 2 * tokenizer.is_continuation
    lengths[list(tokenizer.special_ids)] = 0
    return lengths
