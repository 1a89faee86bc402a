import numpy as np
import pytest

from bert_jax.analysis.vocabulary import piece_characters, vocabulary_fit
from bert_jax.text.tokenizer import Tokenizer

TOKENIZER = Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "fox", "##es", "##", "a"])


def test_characters_of_pieces():
    assert piece_characters(TOKENIZER).tolist() == [0, 0, 0, 0, 0, 3, 2, 2, 1]  # "##" is a word


def test_a_text_by_hand():
    fox, es, unk, a = 5, 6, 1, 8
    fit = vocabulary_fit(TOKENIZER, np.array([fox, es, a, unk, fox, es, a, a]))
    assert fit.fertility == pytest.approx(7 / 5)
    assert fit.characters_per_piece == pytest.approx(13 / 7)
    assert fit.unknown_share == pytest.approx(1 / 8)
    bits = -4 * np.log2(2 / 7) - 3 * np.log2(3 / 7)
    assert fit.unigram_bits_per_character == pytest.approx(bits / 13)
