import numpy as np
import pytest
from flax import nnx

from bert_jax import Bert, BertConfig, Tokenizer
from bert_jax.analysis.representation import represent
from bert_jax.errors import UserError
from bert_jax.parameters import split_model
from bert_jax.text.tokenizer import SPECIAL_PIECES

TOKENIZER = Tokenizer([*SPECIAL_PIECES, "i", "like", "cats", "dogs"])


def test_the_parts_by_hand():
    embeddings = {
        "token": {"table": np.eye(9, 2) * 3},  # only [PAD] and [UNK] have a part of their own
        "segment": {"table": np.array([[0.0, 0], [4, 0]])},
        "position": {"table": np.array([[0.0, 1]] * 8)},
    }
    found = represent(embeddings, TOKENIZER.encode("i", "x"))
    assert found.pieces == ("[CLS]", "i", "[SEP]", "[UNK]", "[SEP]")
    assert found.ids.tolist() == [2, 5, 3, 1, 3]
    assert found.segments.tolist() == [0, 0, 0, 1, 1]
    assert found.positions.tolist() == [0, 1, 2, 3, 4]
    assert found.sum[3].tolist() == [4, 4]  # (0, 3) + (4, 0) + (0, 1)
    assert found.norms[:, 3] == pytest.approx([3, 4, 1, 4 * 2**0.5])
    assert found.cosines[:, 3] == pytest.approx([0.5**0.5] * 3)
    assert found.cosines[:, 0].tolist() == [0, 0, 1]  # a part of length 0 has no direction


def test_it_is_what_the_model_computes():
    config = BertConfig.tiny(vocab_size=9)
    model = Bert(config, nnx.Rngs(0))
    encoding = TOKENIZER.encode("I like cats", "I like dogs")
    parts = model.embeddings([encoding.ids], [encoding.type_ids])
    found = represent(split_model(model)[1]["embeddings"], encoding)
    its_parts = (parts.token, parts.segment, parts.position, parts.sum)
    for mine, its in zip([*found.parts, found.sum], its_parts, strict=True):
        np.testing.assert_allclose(mine, its[0], atol=1e-6)


def test_what_the_tables_have_no_row_for_is_named():
    small = {
        "token": {"table": np.zeros((9, 2))},
        "segment": {"table": np.zeros((1, 2))},
        "position": {"table": np.zeros((4, 2))},
    }
    with pytest.raises(UserError, match="row 1 of the segment table; expected at most row 0"):
        represent(small, TOKENIZER.encode("i", "i"))
    with pytest.raises(UserError, match="row 4 of the position table"):
        represent(small, TOKENIZER.encode("i i i"))
