"""Layer 1's logits in terms: their sum is the model's own; heads made on purpose are known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.analysis.first_attention import FirstAttention
from bert_jax.config import BertConfig
from bert_jax.errors import UserError
from bert_jax.model.bert import Bert
from bert_jax.parameters import abstract_params, merge_model

TOKEN, SEGMENT, POSITION, CONSTANT = range(4)


@dataclasses.dataclass(frozen=True)
class Text:
    ids: list
    type_ids: list


def config(width=8, heads=2, positions=16, segments=2, vocab=11, epsilon=1e-12):
    return BertConfig(
        vocab_size=vocab, hidden_size=width, num_hidden_layers=1, num_attention_heads=heads,
        intermediate_size=4, max_position_embeddings=positions, type_vocab_size=segments,
        layer_norm_eps=epsilon,
    )  # fmt: skip


def drawn(sizes, seed):
    """A model all of whose parameters are drawn, biases and LayerNorm's too."""
    definition, params = abstract_params(lambda: Bert(sizes, nnx.Rngs(0)))
    draw = np.random.default_rng(seed)
    return definition, jax.tree.map(
        lambda leaf: draw.normal(0.5, 1, leaf.shape).astype(np.float32), params
    )


@settings(max_examples=5, deadline=None)
@given(
    st.sampled_from([(4, 1), (6, 3), (16, 2)]), st.integers(1, 3), st.integers(1, 9),
    st.sampled_from([1e-12, 0.3]), st.integers(0, 2**31),
)  # fmt: skip
def test_the_terms_add_up_to_the_models_own_logits(shape, segments, length, epsilon, seed):
    sizes = config(*shape, segments=segments, epsilon=epsilon)
    definition, params = drawn(sizes, seed)
    draw = np.random.default_rng(seed)
    ids, types = draw.integers(0, 11, (2, length)), draw.integers(0, segments, (2, length))
    terms = FirstAttention(sizes, params).terms(ids, types)
    assert terms.shape == (4, 4, 2, sizes.num_attention_heads, length, length)

    @jax.jit
    def own_of(params):
        model = merge_model(definition, params)
        output = model(ids, types, output_hidden_states=True, output_attentions=True)
        attention = model.encoder.layers[0].attention
        query, key = (
            dense(output.hidden_states[0]).reshape(2, length, attention.heads, -1)
            for dense in (attention.query, attention.key)
        )
        scale = query.shape[-1] ** -0.5
        return jnp.einsum("BLNH,BMNH->BNLM", query, key) * scale, output.attentions[0]

    with jax.default_matmul_precision("float32"):
        own, weights = own_of(params)
    bound = 1e-5 * max(1, float(np.abs(own).max()))
    np.testing.assert_allclose(terms.sum(axis=(0, 1)), own, atol=bound)
    np.testing.assert_allclose(jax.nn.softmax(terms.sum(axis=(0, 1))), weights, atol=2 * bound)
    np.testing.assert_array_equal(terms[:, CONSTANT], terms[:, CONSTANT][..., :1] + 0 * terms[0, 0])


def by_hand():
    """Width 2, one head, kernels that change nothing; the sums are (4, -4) and (1, -1)."""
    sizes = config(width=2, heads=1, positions=2, segments=1, vocab=1)
    _, params = drawn(sizes, 0)
    tables = params["embeddings"]
    tables["token"]["table"] = np.array([[3.0, -3]], np.float32)
    tables["segment"]["table"] = np.zeros((1, 2), np.float32)
    tables["position"]["table"] = np.array([[1.0, -1], [-2, 2]], np.float32)
    tables["norm"] = {"scale": np.ones(2, np.float32), "bias": np.array([0, 1], np.float32)}
    attention = params["encoder"]["layers"]["0"]["attention"]
    for name in ("query", "key"):
        attention[name] = {"kernel": np.eye(2, dtype=np.float32), "bias": np.zeros(2, np.float32)}
    return sizes, params


def test_by_hand():
    terms = FirstAttention(*by_hand()).terms([[0, 0]])[:, :, 0, 0] * np.sqrt(2)
    # Token (3, -3) and position (1, -1) by 4 at place 0; by 1 and (-2, 2) at place 1.
    expected = {
        (TOKEN, TOKEN): [[2 * 9 / 16, 2 * 9 / 4], [2 * 9 / 4, 18]],
        (TOKEN, POSITION): [[2 * 3 / 16, -2 * 6 / 4], [2 * 3 / 4, -12]],
        (POSITION, TOKEN): [[2 * 3 / 16, 2 * 3 / 4], [-2 * 6 / 4, -12]],
        (POSITION, POSITION): [[2 / 16, -1], [-1, 8]],
        (CONSTANT, TOKEN): [[-3 / 4, -3], [-3 / 4, -3]],
        (CONSTANT, POSITION): [[-1 / 4, 2], [-1 / 4, 2]],
        (TOKEN, CONSTANT): [[-3 / 4, -3 / 4], [-3, -3]],
        (CONSTANT, CONSTANT): [[1, 1], [1, 1]],
        (SEGMENT, TOKEN): [[0, 0], [0, 0]],
        (POSITION, SEGMENT): [[0, 0], [0, 0]],
    }
    for (query, key), values in expected.items():
        np.testing.assert_allclose(terms[query, key], values, atol=1e-6)


def shifting(shift):
    """Heads of width 16: the first looks `shift` places on by position, the second by token."""
    sizes = config(width=64, heads=2, positions=16, segments=1)
    _, params = drawn(sizes, 0)
    axes = np.eye(64, dtype=np.float32)
    tables = params["embeddings"]
    tables["position"]["table"] = axes[:16]
    tables["token"]["table"] = axes[16:27]
    tables["segment"]["table"] = np.zeros((1, 64), np.float32)
    tables["norm"] = {"scale": np.ones(64, np.float32), "bias": np.zeros(64, np.float32)}
    query, key = np.zeros((2, 64, 64), np.float32)
    for place in range(16):
        key[place, place] = 1
        if 0 <= place + shift < 16:
            query[place, place + shift] = 2
    for token in range(11):
        query[16 + token, 32 + token] = key[16 + token, 32 + token] = 2
    attention = params["encoder"]["layers"]["0"]["attention"]
    for name, kernel in (("query", query), ("key", key)):
        attention[name] = {"kernel": kernel, "bias": np.zeros(64, np.float32)}
    return FirstAttention(sizes, params)


@pytest.mark.parametrize(("shift", "name"), [(-1, 0), (0, 1), (1, 2)])
def test_a_head_that_looks_there_because_of_positions_is_found(shift, name):
    draw = np.random.default_rng(0)
    texts = [Text(draw.integers(0, 11, n).tolist(), [0] * n) for n in (16, 12, 13, 16)]
    found = shifting(shift).measure(texts)
    because = np.zeros((2, 3), bool)
    because[0, name] = True
    np.testing.assert_array_equal(found.because_of_positions, because)
    assert found.mass[0, 0, name] > 0.9 and found.mass[1, 0, name] > 0.9
    assert found.mass[2, 0, name] == pytest.approx(found.uniform[name], abs=0.02)
    # What little the other parts add comes of LayerNorm's mean.
    np.testing.assert_allclose(found.shares[0, POSITION, POSITION], 1, atol=0.05)
    np.testing.assert_allclose(found.shares[1, TOKEN, TOKEN], 1, atol=0.05)


def test_figures_are_those_of_the_maps_and_padding_is_not_looked_at():
    sizes = config()
    _, params = drawn(sizes, 3)
    draw = np.random.default_rng(3)
    texts = [Text(draw.integers(0, 11, n).tolist(), [0, *[1] * (n - 1)]) for n in (9, 5, 2)]
    first = FirstAttention(sizes, params)
    found = first.measure(texts)
    above, below, mass, pairs, uniform = 0, 0, 0, 0, 0
    for text in texts:
        terms = first.terms([text.ids], [text.type_ids])[:, :, 0].astype(np.float64)
        whole = terms.sum(axis=(0, 1))
        for query in range(len(text.ids)):
            for head in range(2):
                row = whole[head, query]
                above = above + np.array([
                    [[np.cov(t[h, query], whole[h, query], ddof=0)[0, 1] for h in range(2)]
                     for t in each] for each in terms
                ]) * (head == 0)  # fmt: skip
                below = below + np.eye(2)[head] * row.var()
        weights = jax.nn.softmax(whole, axis=-1)
        mass = mass + np.trace(weights, offset=-1, axis1=1, axis2=2)
        pairs, uniform = pairs + len(text.ids) - 1, uniform + 1 - 1 / len(text.ids)
    np.testing.assert_allclose(found.shares, np.moveaxis(above, -1, 0) / below[:, None, None],
                               atol=1e-4)  # fmt: skip
    np.testing.assert_allclose(found.shares.sum(axis=(1, 2)), 1, atol=1e-5)
    np.testing.assert_allclose(sum(found.grouped_shares().values()), 1, atol=1e-4)
    np.testing.assert_allclose(found.mass[0, :, 0], mass / pairs, atol=1e-5)
    assert found.uniform[0] == pytest.approx(uniform / pairs)
    assert (found.texts, found.places) == (3, 16)
    assert found.largest_error < 1e-5 * found.largest_logit
    for value, (low, high) in (
        (found.shares, found.share_intervals), (found.mass, found.mass_intervals)
    ):  # fmt: skip
        assert (low <= value + 1e-6).all() and (value <= high + 1e-6).all()


def test_what_does_not_fit_is_said():
    sizes = config(segments=1)
    first = FirstAttention(sizes, drawn(sizes, 0)[1])
    for texts, message in (
        ([], "got 0 texts"),
        ([Text([1] * 17, [0] * 17)], "the longest of 17 pieces; expected .* at most 16 pieces"),
        ([Text([1, 2], [0, 1])], r"got token_type_ids\[0, 1\] = 1; .* the segment table has 1"),
        ([Text([1, 11], [0, 0])], r"got input_ids\[0, 1\] = 11; .* the token table has 11"),
    ):
        with pytest.raises(UserError, match=message):
            first.measure(texts)
    with pytest.raises(UserError, match="got inputs of length 17; expected at most 16"):
        first.terms(np.zeros((1, 17), int))
