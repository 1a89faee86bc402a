"""Masked LM without next sentence prediction: no head, no gradient, no segment 1."""

import dataclasses

import jax
import numpy as np
import pytest

from bert_jax.convert.architectures import architecture_of
from bert_jax.data.instances import plan_sentences
from bert_jax.data.loader import Batches, Phase, RowSettings
from bert_jax.parameters import Parameters
from bert_jax.training.evaluation import evaluate
from bert_jax.training.objectives import MLM, MLM_AND_NSP, OBJECTIVES
from bert_jax.training.sharding import create_mesh, put_batch
from tests.training.examples import Pieces, batches, documents, tiny_config
from tests.training.test_steps import pretrainer, run_steps


def plain(max_instances: int = 1) -> Batches:
    return Batches(
        documents(), Pieces(), seed=0, steps=100, phases=[Phase(32, 1.0)],
        settings=RowSettings(8, max_instances, plan=MLM.plan),
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained() -> tuple[Parameters, Parameters, list]:
    """Parameters before and after 60 steps on one batch, and their metrics."""
    run = pretrainer(objective=MLM)
    before = jax.device_get(run.initial_state().params)
    state, history = run_steps(run, 60, source=[plain()[0]] * 60)
    return before, jax.device_get(state.params), history


def test_masked_lm_is_learned_and_nothing_else_reported(trained):
    _, _, history = trained
    assert history[-1]["mlm_loss"] < history[0]["mlm_loss"] - 0.5
    assert history[0]["loss"] == history[0]["mlm_loss"]
    assert set(history[0]) == {
        "loss", "mlm_loss", "mlm_accuracy", "gradient_norm", "learning_rate"
    }  # fmt: skip


def test_what_comes_out_is_a_masked_lm(trained):
    _, params, _ = trained
    assert "nsp" not in params
    assert "pooler" not in params["bert"]
    assert architecture_of(params) == "BertForMaskedLM"


def test_segment_one_is_never_read_nor_moved_but_by_weight_decay(trained):
    before, after, _ = trained
    rows = [p["bert"]["embeddings"]["segment"]["table"] for p in (before, after)]
    assert plain().settings.plan is plan_sentences
    ratio = rows[1][1] / rows[0][1]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)  # all columns alike
    assert np.abs(rows[1][0] / rows[0][0] - 1).max() > 0.1  # segment 0 has learned


def test_held_out_figures_have_no_pairs():
    run = pretrainer(objective=MLM)
    params = run.initial_state().params
    found = evaluate(run.eval_step, params, [plain()[i] for i in range(3)], run.mesh, MLM)
    assert set(found.figures()) == {
        "heldout_mlm_loss", "heldout_mlm_accuracy", "heldout_masked_tokens"
    }  # fmt: skip
    run = pretrainer()
    both = evaluate(run.eval_step, run.initial_state().params, [batches()[0]], run.mesh)
    assert both.figures() == {f"heldout_{k}": v for k, v in dataclasses.asdict(both).items()}
    assert both.pairs == 8


@pytest.mark.parametrize("max_instances", [1, 3])
def test_devices_and_microbatches_agree(max_instances):
    config = tiny_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    source = plain(max_instances)
    _, one = run_steps(pretrainer(config=config, objective=MLM), 2, source)
    _, many = run_steps(pretrainer(4, config, objective=MLM, accumulate=2), 2, source)
    for a, b in zip(one, many, strict=True):
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-5)


def test_the_same_batch_has_the_same_masked_lm_loss_under_both():
    """Where nobody looks at [CLS], the other objective's model computes the same."""
    batch, mesh = plain()[0], create_mesh({}, jax.devices()[:1])
    both = pretrainer()
    params = both.initial_state().params
    sums = both.eval_step(params, put_batch(batch, mesh))
    assert float(sums["nsp_count"]) == 0
    alone = {"bert": {k: v for k, v in params["bert"].items() if k != "pooler"}}
    alone["mlm"] = params["mlm"]
    alone_sums = pretrainer(objective=MLM).eval_step(alone, put_batch(batch, mesh))
    for name, value in alone_sums.items():
        np.testing.assert_allclose(value, sums[name], rtol=1e-6)


def test_names():
    assert OBJECTIVES == {"mlm+nsp": MLM_AND_NSP, "mlm": MLM}
