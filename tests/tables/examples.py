"""Small tables with a vocabulary, and a hypothesis strategy for such, that the tests here share."""

import numpy as np
from hypothesis import strategies as st

from bert_jax.tables.embedding_tables import ARRAYS, EmbeddingTables
from bert_jax.text.tokenizer import SPECIAL_PIECES, Tokenizer
from tests.text.vocabulary import small_tokenizer

# Whole pieces of any text that Unicode can encode, the continuation mark now and then.
PIECES = st.text(st.characters(exclude_categories=("Cs",)), max_size=6).filter(
    lambda piece: piece not in SPECIAL_PIECES
)


def tables_of(tokenizer, width=4, segments=2, positions=6, seed=0) -> EmbeddingTables:
    """Random tables with a row for each piece."""
    draw = np.random.default_rng(seed)
    rows = (tokenizer.vocab_size, segments, positions)
    return EmbeddingTables(
        *(draw.normal(size=(n, width)).astype(np.float32) for n in rows),
        norm_scale=draw.normal(size=width).astype(np.float32),
        norm_bias=draw.normal(size=width).astype(np.float32),
        tokenizer=tokenizer,
    )


def small_tables(**settings) -> EmbeddingTables:
    return tables_of(small_tokenizer(**settings))


def vocabulary(pieces, **settings) -> Tokenizer:
    """The special pieces, then these."""
    return Tokenizer([*SPECIAL_PIECES, *pieces], **settings)


def assert_same_tables(a: EmbeddingTables, b: EmbeddingTables):
    """Bit for bit, the vocabulary and its normalisation too."""
    for name in ARRAYS:
        first, second = getattr(a, name), getattr(b, name)
        assert first.dtype == second.dtype == np.float32
        np.testing.assert_array_equal(first.view(np.uint32), second.view(np.uint32), err_msg=name)
    for name in ("pieces", "lowercase", "strip_accents", "split_chinese"):
        assert getattr(a.tokenizer, name, None) == getattr(b.tokenizer, name, None)
