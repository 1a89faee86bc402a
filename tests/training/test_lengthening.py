"""A run that is given another length is, bit for bit, one that was begun with it."""

import json
import random
import shutil

import jax
import numpy as np
import pytest

from bert_jax import BertConfig
from bert_jax.checkpoint_files import load_params
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.errors import UserError
from bert_jax.training.callbacks import Callback
from bert_jax.training.lengthening import shared_steps
from bert_jax.training.metrics import read_metrics
from bert_jax.training.pretraining import pretrain
from bert_jax.training.pretraining_settings import PretrainingSettings
from tests.faults.runs import flip_a_bit

WORDS = ["red", "green", "blue", "fox", "dog", "cat", "runs", "sleeps", "eats", "the", "a"]


def texts():
    draw = random.Random(0)
    return [
        " ".join(" ".join(draw.choices(WORDS, k=6)).capitalize() + "." for _ in range(20))
        for _ in range(8)
    ]


SIZES = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 32, "vocab_size": 64,
}  # fmt: skip
USUAL = {
    "model": BertConfig(**SIZES), "steps": 12, "vocab_size": 64, "heldout_fraction": 0.3,
    "phases": "32:1.0", "batch_size": 8, "log_every": 1, "eval_every": 4, "checkpoint_every": 4,
    "learning_rate": 0.01, "warmup": 2, "schedule": "wsd", "decay": 4, "keep": 9,
    "objective": "mlm", "masking": "span",
}  # fmt: skip


class Stop(Callback):
    """Fails after a step, as a machine does."""

    def __init__(self, step):
        self.step = step

    def on_step(self, step, metrics):
        if step == self.step:
            raise InterruptedError


def run(workdir, **changes):
    return pretrain(texts(), workdir, **(USUAL | changes))


def curve(workdir):
    return [
        {name: value for name, value in line.items() if name not in ("tokens_per_second", "time")}
        for line in read_metrics(workdir / "metrics.jsonl")
    ]


def assert_same_end(workdir, expected, step):
    jax.tree.map(
        np.testing.assert_array_equal,
        *(load_params(w / "checkpoints" / str(step)) for w in (workdir, expected)),
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of 12 steps that is stable up to step 8, and one of 18, up to step 14."""
    folder = tmp_path_factory.mktemp("lengths")
    results = {steps: run(folder / str(steps), steps=steps) for steps in (12, 18)}
    return folder, results


def test_lengthened_while_stable_it_is_the_longer_run(runs, tmp_path):
    folder, _ = runs
    with pytest.raises(InterruptedError):
        run(tmp_path / "run", callbacks=[Stop(10)])  # the newest checkpoint has 8 steps
    (tmp_path / "run" / "result.json").write_text("{}")
    result = run(tmp_path / "run", steps=18)
    assert result.resumed_from == 8
    assert curve(tmp_path / "run") == curve(folder / "18")
    assert_same_end(tmp_path / "run", folder / "18", 18)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["steps"] == 18
    assert json.loads((tmp_path / "run" / "result.json").read_text())["steps"] == 18


def test_the_decay_may_begin_at_any_kept_checkpoint(runs, tmp_path):
    folder, _ = runs
    branch = folder / "18" / "checkpoints" / "8"
    result = run(tmp_path / "branch", steps=12, branch_from=str(branch))
    assert result.resumed_from is None
    assert curve(tmp_path / "branch") == [line for line in curve(folder / "12") if line["step"] > 8]
    assert_same_end(tmp_path / "branch", folder / "12", 12)
    again = run(tmp_path / "branch", steps=12, branch_from=str(branch))
    assert again.resumed_from == 12


def test_a_damaged_checkpoint_is_no_start_of_a_branch(runs, tmp_path):
    folder, _ = runs
    shutil.copytree(folder / "18", tmp_path / "18")
    branch = tmp_path / "18" / "checkpoints" / "8"
    flip_a_bit(branch)
    with pytest.raises(UserError, match=r"got .*/8, a damaged checkpoint \("):
        run(tmp_path / "branch", steps=12, branch_from=str(branch))
    assert not (tmp_path / "branch").exists()


def test_what_came_out_of_masked_lm_alone(runs):
    folder, results = runs
    result = json.loads((folder / "12" / "result.json").read_text())
    assert result["objective"] == "mlm"
    assert not [name for name in result if "nsp" in name or "pairs" in name]
    assert results[12].heldout_nsp_accuracy is None
    written = load_pretrained(folder / "12")
    assert written.architecture == "BertForMaskedLM"
    assert set(written.params) == {"bert", "mlm"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"steps": 18}, "got steps=18, but the run in .* was started with steps=12 and has done 12"
         " steps, of which only the first 9 would be the same; .*init_checkpoint=.*12, to go on"
         ".*constant, or wsd before its"),
        ({"decay": 6}, "got decay=6, but .* was started with decay=4(.0)? and has done 12 steps"),
        ({"schedule": "linear"}, "got schedule=linear, but the run in .* with schedule=wsd"),
        ({"mask_rate": 0.3}, "got mask_rate=0.3, but the run in .* was started with mask_rate="),
    ],
)  # fmt: skip
def test_a_length_that_would_change_what_is_done_is_refused(runs, changes, named):
    folder, _ = runs
    before = (folder / "12" / "config.json").read_text()
    with pytest.raises(UserError, match=named) as error:
        run(folder / "12", **changes)
    assert "\n" not in str(error.value)
    assert (folder / "12" / "config.json").read_text() == before
    assert (folder / "12" / "result.json").exists()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"branch_from": "nowhere"}, "got branch_from=nowhere, which is not a checkpoint in the"),
        ({"branch_from": "12/checkpoints/12"}, "of its 12 steps only the first 9 would be the"),
        ({"branch_from": "12/checkpoints/8", "seed": 1}, "got seed=1 for a branch of .* seed=0"),
    ],
)
def test_a_branch_that_would_be_another_run_is_refused(runs, tmp_path, changes, named):
    folder, _ = runs
    changes = changes | {"branch_from": str(folder / changes["branch_from"])}
    with pytest.raises(UserError, match=named.replace("=nowhere", "=.*nowhere")):
        run(tmp_path / "run", steps=18, **changes)
    assert not (tmp_path / "run").exists()


def settings(**changes):
    return PretrainingSettings(**{"steps": 100, "warmup": 10, "decay": 20} | changes)


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ({"schedule": "constant"}, {"schedule": "constant", "steps": 300}, 100),
        ({"schedule": "constant"}, {"schedule": "wsd", "steps": 300}, 100),
        ({"schedule": "wsd"}, {"schedule": "wsd", "steps": 300}, 81),
        ({"schedule": "wsd"}, {"schedule": "wsd", "steps": 60}, 41),
        ({"schedule": "wsd", "warmup": 0.1}, {"schedule": "wsd", "steps": 300}, 81),
        ({"schedule": "wsd", "warmup": 0.1}, {"schedule": "wsd", "steps": 300, "warmup": 0.1}, 0),
        ({}, {"steps": 300}, 11),
        ({"schedule": "wsd", "mask_rate": "0.3:0.15"},
         {"schedule": "wsd", "mask_rate": "0.3:0.15", "steps": 300}, 0),
        ({"schedule": "constant", "phases": "64:0.5,128:0.5"},
         {"schedule": "constant", "phases": "64:0.5,128:0.5", "steps": 300}, 50),
    ],
)  # fmt: skip
def test_how_far_two_lengths_agree(first, second, shared):
    assert shared_steps(settings(**first), settings(**second)) == shared
