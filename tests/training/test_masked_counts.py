"""Short rows of long words, of which whole-word masking hides nothing: the loss stays right."""

import jax
import numpy as np
import pytest
from flax import nnx
from scipy.special import log_softmax

from bert_jax.data.documents import Documents
from bert_jax.data.loader import Batches, Phase, RowSettings
from bert_jax.data.masking import MASKINGS
from bert_jax.model.bert import BertForPreTraining
from bert_jax.parameters import merge_model, split_model
from bert_jax.training.assembly import assemble_pretrainer
from bert_jax.training.objectives import MLM, MLM_AND_NSP
from bert_jax.training.optimizers import create_optimizer
from bert_jax.training.sharding import create_mesh, put_batch
from tests.training.examples import Pieces, tiny_config

CONFIG = tiny_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


class LongWords(Pieces):
    """Pieces 50 and above continue a word."""

    is_continuation = np.arange(Pieces.vocab_size) >= 50


def documents(pieces_a_word: list[int]) -> Documents:
    """Six documents of six sentences of one word each, so many pieces long, in turn."""
    draw = np.random.default_rng(0)
    lengths = np.resize(pieces_a_word, 36)
    words = [[draw.integers(5, 50), *draw.integers(50, 96, n - 1)] for n in lengths]
    return Documents(
        np.concatenate(words).astype(np.uint16),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.arange(0, 37, 6, dtype=np.int64),
    )


def batch_of(pieces_a_word, length, objective, masking="whole_word"):
    settings = RowSettings(8, masking=MASKINGS[masking], plan=objective.plan)
    source = Batches(
        documents(pieces_a_word), LongWords(), seed=0, steps=10, phases=[Phase(length, 1.0)],
        settings=settings,
    )  # fmt: skip
    return source[0]


def one(count):
    return 1.0


def pretrainer(objective, optimizer="sgd"):
    mesh = create_mesh({}, jax.devices()[:1])
    made = create_optimizer(optimizer, one, weight_decay=0.0, clip_norm=0.0)
    return assemble_pretrainer(
        CONFIG, mesh, made, one, seed=0, batch_size=8, objective=objective
    )  # fmt: skip


@pytest.mark.parametrize("length", [8, 11, 16])
def test_a_batch_of_mixed_rows_has_the_mean_over_its_masked_tokens(length):
    batch = batch_of([2, 2, 9, 9], length, MLM_AND_NSP)
    masked = (batch["masked_weights"] > 0).sum(axis=1)
    assert masked.min() == 0 < masked.max()  # the rows are mixed
    run = pretrainer(MLM_AND_NSP)
    state = run.initial_state()
    definition, _ = split_model(BertForPreTraining(CONFIG, nnx.Rngs(0)))
    output = merge_model(definition, jax.device_get(state.params))(
        batch["input_ids"], batch["token_type_ids"], batch["instance_ids"] > 0,
        batch["position_ids"],
    )  # fmt: skip
    row, slot = np.nonzero(batch["masked_weights"])
    scores = np.asarray(output.mlm_logits, np.float64)[row, batch["masked_positions"][row, slot]]
    nats = -log_softmax(scores, -1)[np.arange(len(row)), batch["masked_labels"][row, slot]]
    placed = put_batch(batch, run.mesh)
    sums = jax.device_get(run.eval_step(state.params, placed))
    assert sums["mlm_count"] == masked.sum() == len(row)
    np.testing.assert_allclose(sums["mlm_nats"], nats.sum(), rtol=1e-6)
    _, metrics = run.train_step(state, placed)
    np.testing.assert_allclose(metrics["mlm_loss"], nats.mean(), rtol=1e-6)


@pytest.mark.parametrize("masking", ["whole_word", "span"])
def test_a_batch_that_masks_nothing_teaches_the_masked_lm_nothing(masking):
    for objective in (MLM, MLM_AND_NSP):
        batch = batch_of([9], 16, objective, masking)
        assert not batch["masked_weights"].any() and batch["instance_ids"].any()
        run = pretrainer(objective)
        state = run.initial_state()
        before = jax.device_get(state.params)
        state, metrics = run.train_step(state, put_batch(batch, run.mesh))
        metrics, after = jax.device_get((metrics, state.params))
        assert metrics["mlm_loss"] == metrics["mlm_accuracy"] == 0
        jax.tree.map(np.testing.assert_array_equal, after["mlm"], before["mlm"])
        if objective is MLM:
            assert metrics["loss"] == metrics["gradient_norm"] == 0
            jax.tree.map(np.testing.assert_array_equal, after, before)
        else:
            assert 0 < metrics["loss"] == metrics["nsp_loss"] and metrics["gradient_norm"] > 0


@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
def test_no_optimiser_makes_numbers_of_no_gradient(optimizer):
    run = pretrainer(MLM, optimizer)
    state = run.initial_state()
    before = jax.device_get(state.params)
    state, _ = run.train_step(state, put_batch(batch_of([9], 16, MLM), run.mesh))
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state.params), before)
