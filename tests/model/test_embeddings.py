import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from bert_jax.config import BertConfig
from bert_jax.errors import UserError
from bert_jax.model.embeddings import (
    Embeddings,
    PositionEmbedding,
    SegmentEmbedding,
    TokenEmbedding,
    rows_of,
)

CONFIG = BertConfig(
    vocab_size=9,
    hidden_size=2,
    num_attention_heads=1,
    intermediate_size=4,
    max_position_embeddings=10,
    hidden_dropout_prob=0.5,
)
# [CLS]=2 I=4 like=5 cats=6 [SEP]=3 dogs=7
EXAMPLE = [[2, 4, 5, 6, 3, 4, 5, 7]]
SEGMENTS = [[0, 0, 0, 0, 0, 1, 1, 1]]


@pytest.fixture(scope="module")
def embeddings():
    module = Embeddings(CONFIG, nnx.Rngs(0))
    # Token id t is (t, 0); segment s adds (100 s, 1); position p adds (0, 10 p).
    module.token.table[...] = jnp.stack([jnp.arange(9.0), jnp.zeros(9)], axis=1)
    module.segment.table[...] = jnp.array([[0.0, 1.0], [100.0, 1.0]])
    module.position.table[...] = jnp.stack([jnp.zeros(10), 10 * jnp.arange(10.0)], axis=1)
    return module


def test_i_like_cats_i_like_dogs(embeddings):
    got = embeddings(EXAMPLE, SEGMENTS)
    want = [
        [2, 1], [4, 11], [5, 21], [6, 31], [3, 41], [104, 51], [105, 61], [107, 71],
    ]  # fmt: skip
    np.testing.assert_array_equal(got.sum, [want])
    np.testing.assert_array_equal(got.token[0, :, 0], EXAMPLE[0])
    np.testing.assert_array_equal(got.segment[0, :, 0], [0, 0, 0, 0, 0, 100, 100, 100])
    np.testing.assert_array_equal(got.position[0, :, 1], 10 * np.arange(8))
    np.testing.assert_array_equal(got.sum, got.token + got.segment + got.position)
    # Two numbers normalise to -1 and +1, whichever is larger.
    np.testing.assert_allclose(got.output[0, 0], [1, -1], atol=1e-6)
    np.testing.assert_allclose(got.output[0, 2], [-1, 1], atol=1e-6)


def test_i_like_cats_with_the_closing_sep_bert_trains_on(embeddings):
    got = embeddings([[*EXAMPLE[0], 3]], [[*SEGMENTS[0], 1]])
    np.testing.assert_array_equal(got.sum[0, 8], [103, 81])
    np.testing.assert_array_equal(got.sum[:, :8], embeddings(EXAMPLE, SEGMENTS).sum)


def test_defaults_are_segment_zero_and_rising_positions(embeddings):
    got = embeddings(EXAMPLE)
    want = embeddings(EXAMPLE, [[0] * 8], [list(range(8))])
    np.testing.assert_array_equal(got.sum, want.sum)


def test_positions_can_restart_within_a_row(embeddings):
    got = embeddings([[2, 4, 2, 4]], position_ids=[[0, 1, 0, 1]])
    np.testing.assert_array_equal(got.sum[0, :2], got.sum[0, 2:])


def test_each_module_works_alone():
    rngs = nnx.Rngs(0)
    assert TokenEmbedding(CONFIG, rngs)(EXAMPLE).shape == (1, 8, 2)
    assert SegmentEmbedding(CONFIG, rngs)(SEGMENTS).shape == (1, 8, 2)
    position = PositionEmbedding(CONFIG, rngs)
    assert position([[3, 0]]).shape == (1, 2, 2)
    np.testing.assert_array_equal(rows_of(position, 10)[:2], position([[0, 1]])[0])


def test_a_part_can_be_replaced(embeddings):
    module = Embeddings(CONFIG, nnx.Rngs(0))
    module.position = PositionEmbedding(CONFIG.replace(max_position_embeddings=3), nnx.Rngs(1))
    assert module([[1, 2, 3]]).output.shape == (1, 3, 2)
    with pytest.raises(UserError, match="length 4; expected at most 3"):
        module([[1, 2, 3, 4]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1, 9]],), r"got input_ids\[0, 1\] = 9; expected ids from 0 to 8"),
        (([[1, -1]],), r"got input_ids\[0, 1\] = -1"),
        ((np.array([[1.0]]),), "input_ids of dtype float64; expected whole numbers"),
        (([[True]],), "input_ids of dtype bool"),
        (
            ([1, 2],),
            r"shape \(2,\); expected two axes \[B, L\]; give input_ids\[None\]",
        ),
        (([[1, 2], [3]],), "lists of unequal length"),
        (([[1] * 11],), "length 11; expected at most 10"),
        (([[1]], [[2]]), r"token_type_ids\[0, 0\] = 2; expected ids from 0 to 1"),
        (([[1]], [[0, 1]]), r"token_type_ids of shape \(1, 2\) with input_ids of shape \(1, 1\)"),
        (([[1]], None, [[10]]), r"position_ids\[0, 0\] = 10; expected ids from 0 to 9"),
    ],
)
def test_mistakes_are_told_before_anything_is_compiled(embeddings, arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        embeddings(*arguments)
    assert "\n" not in str(caught.value)


def test_shapes_are_checked_inside_jit_too(embeddings):
    with pytest.raises(UserError, match="input_ids of dtype float32"):
        jax.eval_shape(embeddings, jnp.zeros((1, 2)))


def test_dropout_only_with_rngs(embeddings):
    np.testing.assert_array_equal(embeddings(EXAMPLE).output, embeddings(EXAMPLE).output)
    dropped = embeddings(EXAMPLE, rngs=nnx.Rngs(0)).output
    assert 0 < np.sum(np.asarray(dropped) == 0) < dropped.size
    again = embeddings(EXAMPLE, rngs=nnx.Rngs(0)).output
    np.testing.assert_array_equal(dropped, again)


def test_the_initial_tables_are_truncated_normal():
    table = TokenEmbedding(BertConfig(vocab_size=4096, hidden_size=12), nnx.Rngs(0)).table[...]
    assert abs(float(table.mean())) < 3e-4
    assert float(jnp.abs(table).max()) <= 0.04
    assert 0.0170 < float(table.std()) < 0.0182  # 0.02 · 0.8796, the share that truncation leaves
