import jax
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from bert_jax.checkpoints import Checkpoints
from bert_jax.errors import UserError
from bert_jax.kernels.compute import Compute
from bert_jax.tables.embedding_tables import PARTS, EmbeddingTables
from bert_jax.tables.starting import with_tables
from bert_jax.training.assembly import assemble_pretrainer
from bert_jax.training.freezing import Frozen, join_frozen, split_frozen
from bert_jax.training.optimizers import OPTIMIZERS, create_optimizer
from bert_jax.training.sharding import create_mesh, path_name, put_batch
from tests.training.examples import batches, tiny_config

EMBEDDINGS = "bert/embeddings"


def pretrainer(frozen=(), optimizer="adamw", axes=None, config=None, **choices):
    def rate(count):
        return 1e-2

    axes = axes or {}
    mesh = create_mesh(axes, jax.devices()[: int(np.prod(list(axes.values()) or [1]))])
    made = create_optimizer(optimizer, rate) if isinstance(optimizer, str) else optimizer
    return assemble_pretrainer(
        config or tiny_config(), mesh, made, rate, seed=0, batch_size=8, frozen=frozen, **choices
    )


def trained(run, state, first, last):
    for step in range(first, last):
        state, _ = run.train_step(state, put_batch(batches()[step], run.mesh))
    return state


def bits(params):
    """Every parameter by name as bytes, in which −0 is not 0."""
    return {k: np.asarray(v).tobytes() for k, v in flatten_dict(params, sep="/").items()}


def changed(before, after):
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_frozen_tables_stay_bit_for_bit_and_all_else_moves(optimizer):
    """Weight decay, trust ratios and momentum would all move a table that has no gradient."""
    frozen = (f"{EMBEDDINGS}/token", f"{EMBEDDINGS}/position")
    run = pretrainer(frozen, optimizer)
    state = run.initial_state()
    before = bits(state.params)
    after = bits(trained(run, state, 0, 3).params)
    still = {f"{path}/table" for path in frozen}
    # The key's bias shifts all scores of a query alike, so its gradient is 0 but for rounding.
    idle = {name for name in before if name.endswith("key/bias")}
    assert changed(before, after) | idle == (set(before) - still) | idle


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_frozen_layers_stay_bit_for_bit_in_a_scan_too(optimizer, scan):
    row_lazy = optimizer == "row_lazy_adamw"
    named = "segment,position,layers:1" if row_lazy else "embeddings,layers:1"
    config = tiny_config(num_hidden_layers=3, tie_word_embeddings=not row_lazy)
    frozen = Frozen.named(named).paths(config)
    compute = Compute(scan_layers=scan)
    run = pretrainer(frozen, optimizer, config=config, compute=compute, row_lazy=row_lazy)
    state = run.initial_state()
    before = bits(state.params)
    kept = [path_name(p) for p, _ in jax.tree_util.tree_leaves_with_path(state.opt_state)]
    assert not any("layers/0/" in name for name in kept)
    moved = changed(before, bits(trained(run, state, 0, 2).params))
    assert not [name for name in moved if name.startswith("bert/encoder/layers/0/")]
    assert not [name for name in moved if name.startswith(frozen)]
    for layer in ("1", "2"):
        names = {n for n in before if n.startswith(f"bert/encoder/layers/{layer}/")}
        assert {n for n in names - moved if not n.endswith("key/bias")} == set()


def test_what_is_named_to_freeze():
    config = tiny_config(num_hidden_layers=3)
    tables = tuple(f"{EMBEDDINGS}/{part}" for part in PARTS)
    first_two = ("bert/encoder/layers/0", "bert/encoder/layers/1")
    for named, paths in {
        None: (),
        ("position", "token"): (tables[0], tables[2]),
        "position,token": (tables[0], tables[2]),
        "layers:2": first_two,
        "embeddings,layers:2": (*tables, f"{EMBEDDINGS}/norm", *first_two),
    }.items():
        assert Frozen.named(named).paths(config) == paths
        split_frozen(pretrainer(config=config).abstract_state.params, paths)  # such paths exist


@pytest.mark.parametrize("tied", [True, False])
def test_an_untied_decoder_trains_while_the_token_table_is_frozen(tied):
    run = pretrainer((f"{EMBEDDINGS}/token",), config=tiny_config(tie_word_embeddings=tied))
    state = run.initial_state()
    before = bits(state.params)
    moved = changed(before, bits(trained(run, state, 0, 2).params))
    assert f"{EMBEDDINGS}/token/table" not in moved
    assert ("mlm/decoder" in moved) is not tied
    assert "mlm/bias" in moved


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_optimizer_keeps_nothing_for_what_is_frozen(optimizer):
    whole = pretrainer(optimizer=optimizer).abstract_state.opt_state
    frozen = tuple(f"{EMBEDDINGS}/{part}" for part in PARTS)
    state = pretrainer(frozen, optimizer).abstract_state
    names = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(state.opt_state)]
    assert not any("/table" in name for name in names)
    kept = any("/table" in path_name(p) for p, _ in jax.tree_util.tree_leaves_with_path(whole))
    assert kept == (optimizer != "sgd")  # which has no memory
    assert any("encoder" in name for name in names) == (optimizer != "sgd")


def test_the_gradient_norm_is_that_of_what_is_trained():
    """So clipping is not tightened by gradients that are thrown away."""
    config = tiny_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    frozen = tuple(f"{EMBEDDINGS}/{part}" for part in PARTS)

    def step(frozen, **choices):
        run = pretrainer(frozen, optax.sgd(1.0), config=config, **choices)
        state = run.initial_state()
        before = jax.device_get(state.params)
        state, metrics = run.train_step(state, put_batch(batches()[0], run.mesh))
        gradients = jax.tree.map(np.subtract, before, jax.device_get(state.params))
        return float(metrics["gradient_norm"]), flatten_dict(gradients, sep="/")

    whole_norm, whole = step(())
    norm, some = step(frozen)
    for name, gradient in some.items():
        expected = 0 if name.endswith("/table") else whole[name]
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6, err_msg=name)
    assert norm == pytest.approx(np.sqrt(sum(np.sum(g**2) for g in some.values())), rel=1e-5)
    assert norm < whole_norm
    assert step(frozen, accumulate=4)[0] == pytest.approx(norm, rel=1e-5)


def test_restored_and_continued_it_is_the_same_bit_for_bit(tmp_path):
    """On a mesh, where frozen tables and moments of the others have their places."""
    run = pretrainer((f"{EMBEDDINGS}/token",), axes={"data": 2, "fsdp": 2, "tensor": 2})
    expected = trained(run, run.initial_state(), 0, 4)
    store = Checkpoints(tmp_path, keep=1, config={}, vocabulary={})
    store.save(trained(run, run.initial_state(), 0, 2))
    state = store.restore(run.abstract_state)
    store.close()
    table = state.params["bert"]["embeddings"]["token"]["table"]
    assert table.addressable_shards[0].data.shape == (24, 16)
    continued = trained(run, state, 2, 4)
    assert jax.tree.structure(continued) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, continued, expected)


@pytest.mark.parametrize("parts", [("token",), ("segment", "position"), PARTS])
def test_a_run_starts_from_given_tables_in_the_parts_asked_for(parts):
    drawn = pretrainer().initial_state().params
    draw = np.random.default_rng(1)
    tables = EmbeddingTables.from_params(
        jax.tree.map(
            lambda x: draw.normal(size=x.shape).astype(np.float32), drawn["bert"]["embeddings"]
        )
    )
    run = pretrainer(start=lambda params: with_tables(params, tables, parts), axes={"fsdp": 2})
    state = run.initial_state()
    before, after = bits(drawn), bits(state.params)
    given = bits({"bert": {"embeddings": tables.to_params()}})
    names = {f"{EMBEDDINGS}/{part}/table" for part in parts}
    if parts == PARTS:
        names |= {f"{EMBEDDINGS}/norm/scale", f"{EMBEDDINGS}/norm/bias"}
    assert changed(before, after) == names
    assert {name: after[name] for name in names} == {name: given[name] for name in names}


def test_splitting_is_undone_and_mistakes_are_named():
    params = {"bert": {"embeddings": {"token": {"table": 1}, "norm": 2}}, "mlm": {"bias": 3}}
    trained, kept = split_frozen(params, ["bert/embeddings/token", "mlm"])
    assert trained == {"bert": {"embeddings": {"norm": 2}}}
    assert kept == {"bert": {"embeddings": {"token": {"table": 1}}}, "mlm": {"bias": 3}}
    assert join_frozen(trained, kept) == params
    assert split_frozen(params, ()) == (params, {})
    for frozen, message in {
        "bert/embeddings/tok": "got 'bert/embeddings/tok' to freeze; expected the path",
        "bert mlm": "got bert, mlm to freeze; expected something left to train",
    }.items():
        with pytest.raises(UserError, match=message):
            split_frozen(params, frozen.split())
