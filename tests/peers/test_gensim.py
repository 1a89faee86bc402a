"""gensim opens the token table."""

import numpy as np
import pytest

from bert_jax.tables.word2vec import escape, save_word2vec
from tests.tables.examples import tables_of, vocabulary

models = pytest.importorskip("gensim.models", reason="the peers suite needs gensim")

ODD = [
    "", " ", "new york", "a\tb", "line\nend", "\r", "nbsp\xa0", "\u2028", "\x85", "\0", "\ufeff",
    "\\", r"\u{20}", r"\\u{", r"\u{}", "é", "e\u0301", "中", "😀", "##\u3000", "##", "#",
]  # fmt: skip


def test_gensim_opens_it(tmp_path):
    """Odd pieces are found under their escape."""
    tables = tables_of(vocabulary(ODD), width=5)
    save_word2vec(tables, tmp_path / "t.vec")
    vectors = models.KeyedVectors.load_word2vec_format(tmp_path / "t.vec")
    assert len(vectors) == tables.tokenizer.vocab_size
    for piece, row in zip(tables.tokenizer.pieces, tables.token, strict=True):
        np.testing.assert_array_equal(vectors[escape(piece)], row)
    assert vectors[r"new\u{20}york"].shape == (5,)
