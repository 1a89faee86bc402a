import jax
import ml_dtypes
import numpy as np
import pytest
from flax import nnx

from bert_jax.errors import UserError
from bert_jax.model.bert import BertForPreTraining
from bert_jax.parameters import abstract_params
from bert_jax.tables.embedding_tables import EmbeddingTables
from bert_jax.text.tokenizer import Tokenizer
from tests.tables.examples import assert_same_tables, small_tables, tables_of, vocabulary
from tests.training.examples import tiny_config


def test_they_come_from_a_models_parameters_and_go_back():
    _, shapes = abstract_params(lambda: BertForPreTraining(tiny_config(), nnx.Rngs(0)))
    embeddings = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), shapes["bert"]["embeddings"])
    tables = EmbeddingTables.from_params(embeddings)
    assert (tables.token.shape, tables.segment.shape, tables.position.shape) == (
        (96, 16), (2, 16), (32, 16),
    )  # fmt: skip
    assert tables.width == 16
    assert tables.vocab_hash is None
    again = EmbeddingTables.from_params(tables.to_params())
    assert_same_tables(again, tables)
    assert jax.tree.structure(tables.to_params()) == jax.tree.structure(embeddings)


def test_half_precision_is_taken_exactly():
    tables = small_tables()
    for dtype in (np.float16, ml_dtypes.bfloat16):
        half = tables.token.astype(dtype)
        np.testing.assert_array_equal(
            tables.replace(token=half).token, half.astype(np.float32), strict=True
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"position": np.zeros((6, 5))}, r"got position of shape \[6, 5\]; expected \[rows, 4\]"),
        ({"segment": np.zeros(4)}, r"got segment of shape \[4\]; expected \[rows, 4\]"),
        ({"norm_bias": np.zeros((4, 1))}, r"got norm_bias of shape \[4, 1\]; expected \[4\]"),
        ({"token": np.zeros(4)}, r"got token of shape \[4\]; expected \[rows, D\]"),
        ({"token": np.zeros((3, 4))}, r"got \d+ pieces for a token table of 3 rows"),
        ({"segment": np.zeros((0, 4))}, r"got segment of shape \[0, 4\]"),
        ({"segment": np.full((2, 4), np.nan)}, "got segment with 8 values that are NaN"),
        ({"segment": np.zeros((2, 4), int)}, "got segment of dtype int64; expected floating"),
    ],
)
def test_what_does_not_belong_together_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        small_tables().replace(**changes)


def test_a_vocabulary_that_does_not_belong_is_refused():
    tables = tables_of(vocabulary(["a", "b"]))
    tables.check_vocabulary(vocabulary(["a", "b"]))
    tables.check_vocabulary(tables.tokenizer.vocab_hash)
    swapped = vocabulary(["b", "a"])  # as many pieces, and every row would be another's
    for other, shown in ((swapped, "of 7 pieces "), (swapped.vocab_hash, "")):
        with pytest.raises(UserError) as caught:
            tables.check_vocabulary(other)
        assert str(caught.value).startswith(
            f"got a vocabulary {shown}(hash {swapped.vocab_hash[:12]}) that does not belong to the"
            " embedding tables; expected theirs, of 7 pieces (hash"
            f" {tables.tokenizer.vocab_hash[:12]})"
        )
    with pytest.raises(UserError, match="without a vocabulary for one of 7 pieces"):
        tables.replace(tokenizer=None).check_vocabulary(swapped)


def test_text_normalised_in_another_way_is_refused():
    tables = tables_of(vocabulary(["a", "A"], lowercase=False))
    pieces = tables.tokenizer.pieces
    with pytest.raises(
        UserError, match=r"lowercase=True for .* lowercase=False; expected the same"
    ):
        tables.check_vocabulary(Tokenizer(pieces))
    with pytest.raises(UserError, match="strip_accents=True"):
        tables.check_vocabulary(Tokenizer(pieces, lowercase=False, strip_accents=True))
    tables.check_vocabulary(Tokenizer(pieces, lowercase=False, strip_accents=False))  # as None does


def test_a_part_without_a_table_is_said():
    tables = tables_of(vocabulary("cats"))
    params = tables.to_params()
    del params["position"]["table"]
    with pytest.raises(UserError, match="got embeddings whose position part has no table"):
        EmbeddingTables.from_params(params)
