import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from bert_jax import Bert, BertConfig, BertForPreTraining
from bert_jax.errors import UserError
from bert_jax.kernels.attention import within_instances
from bert_jax.kernels.compute import Compute
from bert_jax.kernels.cpu_products import CPU
from bert_jax.kernels.products import PLAIN
from bert_jax.model.bert import gather_positions
from bert_jax.parameters import (
    abstract_params,
    merge_model,
    split_model,
    stack_layers,
    unstack_layers,
)

CONFIG = BertConfig(
    vocab_size=40,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=24,
    max_position_embeddings=16,
    initializer_range=0.3,
)
B, L = 2, 12


def ids(seed, shape=(B, L)):
    return np.random.default_rng(seed).integers(1, CONFIG.vocab_size, shape, dtype=np.int32)


@pytest.fixture(scope="module")
def model():
    definition, params = split_model(BertForPreTraining(CONFIG, nnx.Rngs(0)))

    @jax.jit
    def call(input_ids, token_type_ids, attention_mask, position_ids, cls, masked):
        return merge_model(definition, params)(
            input_ids, token_type_ids, attention_mask, position_ids, cls, masked
        )

    def run(input_ids, types=None, mask=None, positions=None, cls=None, masked=None):
        return call(input_ids, types, mask, positions, cls, masked)

    return run


@settings(max_examples=8, deadline=None)
@given(length=st.integers(1, L - 1), seed=st.integers(0, 2**16))
def test_padding_changes_nothing(model, length, seed):
    mask = (np.arange(L) < length)[None].repeat(B, 0)
    one = ids(seed)
    other = np.where(mask, one, ids(seed + 1))
    a, b = model(one, mask=mask), model(other, mask=mask)
    np.testing.assert_array_equal(a.last_hidden_state[:, :length], b.last_hidden_state[:, :length])
    np.testing.assert_array_equal(a.nsp_logits, b.nsp_logits)


def test_a_padded_row_equals_the_row_alone(model):
    row = ids(3, (1, 5))
    padded = np.zeros((B, L), np.int32)
    padded[:, :5] = row
    got = model(padded, mask=(np.arange(L) < 5)[None].repeat(B, 0)).last_hidden_state[0, :5]
    want = model(row, mask=np.ones((1, 5), bool)).last_hidden_state[0]
    np.testing.assert_allclose(got, want, atol=2e-6)


def test_packed_instances_see_each_other_no_more_than_rows_do(model):
    first, second = ids(5, (1, 5)), ids(6, (1, 4))
    packed = np.zeros((B, L), np.int32)
    packed[:, :5], packed[:, 5:9] = first, second
    instances = np.array([[1] * 5 + [2] * 4 + [0] * 3] * B)
    positions = np.array([[*range(5), *range(4), 0, 0, 0]] * B, np.int32)
    types = np.zeros((B, L), np.int32)
    got = model(
        packed,
        types,
        instances,
        positions,
        np.array([[0, 5]] * B, np.int32),
    )
    for places, cls, alone in ((slice(0, 5), 0, first), (slice(5, 9), 1, second)):
        want = model(alone, mask=np.ones(alone.shape, bool))
        np.testing.assert_allclose(
            got.last_hidden_state[0, places], want.last_hidden_state[0], atol=2e-6
        )
        np.testing.assert_allclose(got.nsp_logits[0, cls], want.nsp_logits[0], atol=2e-6)
    assert got.nsp_logits.shape == (B, 2, 2)


def test_the_instance_mask_is_block_diagonal():
    mask = within_instances(jnp.array([[1, 1, 2, 0]])).allowed
    want = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [1, 1, 1, 0]]
    np.testing.assert_array_equal(mask[0, 0].astype(int), want)


def test_a_mask_of_0_and_1_is_the_boolean_one_at_every_position():
    ones = jnp.array([[1, 1, 0, 1]])
    mask, wanted = (within_instances(x).allowed for x in (ones, ones.astype(bool)))
    np.testing.assert_array_equal(mask, jnp.broadcast_to(wanted, mask.shape))


@settings(max_examples=5, deadline=None)
@given(st.lists(st.integers(0, L - 1), min_size=3, max_size=3))
def test_gathering_first_equals_gathering_logits(model, places):
    masked = np.array([places] * B, np.int32)
    gathered = model(ids(1), masked=masked)
    full = model(ids(1))
    want = gather_positions(full.mlm_logits, masked)
    assert gathered.mlm_logits.shape == (B, 3, CONFIG.vocab_size)
    np.testing.assert_allclose(gathered.mlm_logits, want, atol=5e-6)


def test_gather_picks_the_drawn_positions():
    hidden = jnp.arange(8.0).reshape(2, 4, 1)
    got = gather_positions(hidden, jnp.array([[1, 3], [0, 0]]))
    np.testing.assert_array_equal(got[..., 0], [[1, 3], [4, 4]])
    with pytest.raises(UserError, match=r"expected whole numbers \[B, P\] with B = 2"):
        gather_positions(hidden, jnp.array([[1, 3]]))


def loss_of(definition, batch):
    def loss(params):
        output = merge_model(definition, params)(
            batch["input_ids"],
            attention_mask=batch["mask"],
            masked_positions=batch["places"],
            rngs=nnx.Rngs(dropout=jax.random.key(3)),
        )
        entropy = optax.softmax_cross_entropy_with_integer_labels
        mlm = entropy(output.mlm_logits, batch["labels"]).mean()
        return mlm + entropy(output.nsp_logits, batch["next"]).mean()

    return loss


def training_batch(rows):
    return {
        "input_ids": ids(1, (rows, L)),
        "mask": np.arange(L)[None] < np.resize([L, L - 3], rows)[:, None],
        "places": ids(2, (rows, 3)) % L,
        "labels": ids(3, (rows, 3)),
        "next": np.arange(rows, dtype=np.int32) % 2,
    }


def assert_close(got, want, tolerance):
    def check(path, a, b):
        scale = max(float(jnp.abs(b).max()), 1e-2)  # the key's bias changes nothing: noise about 0
        np.testing.assert_allclose(
            np.asarray(a) / scale, np.asarray(b) / scale, atol=tolerance, err_msg=str(path)
        )

    jax.tree_util.tree_map_with_path(check, got, want)


@pytest.fixture(scope="module")
def reference():
    """Loss and gradients of the plain unrolled model with dropout, 8 rows."""
    definition, params = split_model(
        BertForPreTraining(CONFIG, nnx.Rngs(0), Compute(products=PLAIN))
    )
    batch = training_batch(8)
    return params, batch, *jax.jit(jax.value_and_grad(loss_of(definition, batch)))(params)


def test_scanned_equals_unrolled_dropout_included(reference):
    params, batch, loss, gradients = reference
    model = BertForPreTraining(CONFIG, nnx.Rngs(0), Compute(scan_layers=True, products=PLAIN))
    definition, stacked = split_model(model)
    assert_close(unstack_layers(stacked), params, 0)  # the same start for the same seed
    assert_close(stack_layers(params), stacked, 0)
    got_loss, got = jax.jit(jax.value_and_grad(loss_of(definition, batch)))(stacked)
    np.testing.assert_allclose(got_loss, loss, rtol=1e-6)
    assert_close(unstack_layers(got), gradients, 2e-6)


def test_cpu_products_equal_plain_ones_dropout_included(reference):
    params, batch, loss, gradients = reference
    definition, _ = abstract_params(
        lambda: BertForPreTraining(CONFIG, nnx.Rngs(0), Compute(products=CPU))
    )
    got_loss, got = jax.jit(jax.value_and_grad(loss_of(definition, batch)))(params)
    np.testing.assert_allclose(got_loss, loss, rtol=1e-6)
    assert_close(got, gradients, 5e-6)


def test_eight_devices_give_the_gradients_of_one(reference):
    params, batch, loss, gradients = reference
    axes = ("data", "fsdp", "tensor")
    mesh = jax.make_mesh((2, 2, 2), axes, axis_types=(AxisType.Auto,) * 3)
    definition, _ = abstract_params(
        lambda: BertForPreTraining(CONFIG, nnx.Rngs(0), Compute(products=CPU))
    )
    rows = jax.device_put(batch, NamedSharding(mesh, P(("data", "fsdp"))))
    whole = jax.device_put(params, NamedSharding(mesh, P()))
    step = jax.jit(lambda params, batch: jax.value_and_grad(loss_of(definition, batch))(params))
    got_loss, got = step(whole, rows)
    np.testing.assert_allclose(got_loss, loss, rtol=1e-6)
    assert_close(got, gradients, 5e-6)


def test_bfloat16_stays_near_float32(reference):
    params, batch, loss, gradients = reference
    definition, _ = abstract_params(
        lambda: BertForPreTraining(CONFIG, nnx.Rngs(0), Compute(dtype=jnp.bfloat16, products=CPU))
    )
    got_loss, got = jax.jit(jax.value_and_grad(loss_of(definition, batch)))(params)
    assert got_loss.dtype == jnp.float32
    np.testing.assert_allclose(got_loss, loss, rtol=0.02)
    for path, leaf in jax.tree_util.tree_leaves_with_path(got):
        assert leaf.dtype == jnp.float32
        want = gradients
        for key in path:
            want = want[key.key]
        if np.linalg.norm(want) > 1e-4:  # the key's bias changes no softmax: its gradient is 0
            distance = np.linalg.norm(leaf - want) / np.linalg.norm(want)
            assert distance < 0.1, (path, distance)


def test_the_second_call_compiles_nothing():
    definition, params = split_model(Bert(CONFIG, nnx.Rngs(0)))
    traced = 0

    @jax.jit
    def call(params, input_ids, key):
        nonlocal traced
        traced += 1
        return merge_model(definition, params)(input_ids, rngs=nnx.Rngs(dropout=key)).pooler_output

    first = call(params, ids(0), jax.random.key(0))
    second = call(jax.tree.map(lambda leaf: leaf * 1, params), ids(1), jax.random.key(1))
    assert traced == 1
    assert (first != second).any()


def test_without_rngs_nothing_is_random(model):
    np.testing.assert_array_equal(model(ids(0)).mlm_logits, model(ids(0)).mlm_logits)


def test_everything_can_be_asked_for():
    output = Bert(CONFIG, nnx.Rngs(0))(
        ids(0), output_hidden_states=True, output_attentions=True, output_embeddings=True
    )
    assert [state.shape for state in output.hidden_states] == [(B, L, 16)] * 3
    np.testing.assert_array_equal(output.hidden_states[0], output.embeddings.output)
    np.testing.assert_array_equal(output.hidden_states[-1], output.last_hidden_state)
    assert [maps.shape for maps in output.attentions] == [(B, 2, L, L)] * 2
    np.testing.assert_allclose(output.attentions[0].sum(-1), 1, atol=1e-6)
    assert output.pooler_output.shape == (B, 16)


@pytest.mark.parametrize(("name", "count"), [("base", 110_106_428), ("large", 336_226_108)])
@pytest.mark.parametrize("scan_layers", [False, True])
def test_published_sizes_have_the_published_parameters(name, count, scan_layers):
    config = getattr(BertConfig, name)()
    definition, params = abstract_params(
        lambda: BertForPreTraining(config, nnx.Rngs(0), Compute(scan_layers=scan_layers))
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count
    output = jax.eval_shape(
        lambda params, ids: merge_model(definition, params)(ids),
        params,
        jax.ShapeDtypeStruct((3, 512), jnp.int32),
    )
    width = config.hidden_size
    assert output.last_hidden_state.shape == (3, 512, width)
    assert output.pooler_output.shape == (3, width)
    assert output.mlm_logits.shape == (3, 512, 30522)
    assert output.nsp_logits.shape == (3, 2)


def test_an_untied_head_has_a_decoder_of_its_own():
    config = CONFIG.replace(tie_word_embeddings=False)
    _, params = abstract_params(lambda: BertForPreTraining(config, nnx.Rngs(0)))
    assert params["mlm"]["decoder"].shape == (40, 16)
    assert (
        "decoder" not in abstract_params(lambda: BertForPreTraining(CONFIG, nnx.Rngs(0)))[1]["mlm"]
    )


def test_layers_are_ordered_by_number_not_as_text():
    config = CONFIG.replace(num_hidden_layers=11)
    model = Bert(config, nnx.Rngs(0))
    for i, layer in enumerate(model.encoder.layers):
        layer.attention_norm.bias[...] = jnp.full((16,), float(i))
    definition, params = split_model(model)
    stacked = stack_layers(params)["encoder"]["layers"]["attention_norm"]["bias"]
    np.testing.assert_array_equal(stacked[:, 0], np.arange(11.0))
    merged = merge_model(definition, unstack_layers(stack_layers(params)))
    for i, layer in enumerate(merged.encoder.layers):
        assert layer.attention_norm.bias[0] == i


@pytest.mark.parametrize("shape", [(L, B), (B, L, L + 1), (B,)])
def test_a_mask_of_another_shape_is_named(shape):
    with pytest.raises(UserError, match=r"got attention_mask of shape .*\[B, L\] = \(2, 12\)"):
        Bert(CONFIG, nnx.Rngs(0))(ids(0), attention_mask=np.ones(shape))
