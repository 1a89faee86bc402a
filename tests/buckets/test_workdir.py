"""A run whose workdir is a bucket's: killed, it goes on on a machine whose disk is empty."""

import json

import pytest

from bert_jax import finetune, pretrain
from bert_jax.bucket import Prefix
from bert_jax.errors import UserError
from bert_jax.mirror import at_hand
from bert_jax.training.callbacks import Callback

NAMES = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
TEXTS = [
    f"Document {name} begins here. It has a second sentence.\n\nAnd a third one, number {n}."
    for n, name in enumerate(
        ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    )
]
SETTINGS = {
    "vocab_size": 80, "heldout_fraction": 0.3, "steps": 6, "batch_size": 8, "phases": "32:1.0",
    "checkpoint_every": 2, "eval_every": 2, "log_every": 1, "keep": 1,
}  # fmt: skip


class Killed(BaseException):
    """As a kill: nothing that is open is closed well."""


class Kill(Callback):
    def __init__(self, at):
        self._at = at

    def on_log(self, step, metrics):
        if step == self._at:
            raise Killed


def metrics(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [(line["step"], line["loss"]) for line in map(json.loads, lines)]


@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_killed_run_goes_on_on_another_machine(gcs, new_machine, tmp_path, at):
    whole = pretrain(TEXTS, tmp_path / "run", **SETTINGS)
    with pytest.raises(Killed):
        pretrain(TEXTS, "gs://bucket-one/run", callbacks=[Kill(at)], **SETTINGS)
    there = Prefix("gs://bucket-one/run").objects()
    assert "config.json" in there and "corpus/corpus.json" in there and "result.json" not in there
    new_machine("other")
    result = pretrain(TEXTS, "gs://bucket-one/run", **SETTINGS)
    assert result.resumed_from == (None if at == 1 else at - 1)
    assert result.checkpoint == "gs://bucket-one/run/checkpoints/6"
    assert result.heldout_mlm_loss == whole.heldout_mlm_loss
    new_machine("third")
    assert metrics(at_hand("gs://bucket-one/run")) == metrics(tmp_path / "run")
    assert not [name for name in Prefix("gs://bucket-one/run").objects() if ".lock" in name]


def test_a_mistake_leaves_the_bucket_as_it_was(gcs):
    with pytest.raises(UserError):
        pretrain(TEXTS, "gs://bucket-one/run", **{**SETTINGS, "vocab_size": 5})
    assert Prefix("gs://bucket-one/run").objects() == {}


@pytest.mark.parametrize("workdir", ["", "hdfs://host/run", "gs://"])
def test_what_is_no_place_is_refused_before_anything_is_made(workdir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="got workdir="):
        pretrain(TEXTS, workdir, **SETTINGS)
    assert list(tmp_path.iterdir()) == []


def test_fine_tuned_in_a_bucket(gcs, new_machine, tmp_path):
    model = pretrain(TEXTS, tmp_path / "run", **SETTINGS).checkpoint
    examples = [("a moving film", "good"), ("dull", "bad")] * 6
    given = {"checkpoint": model, "train": examples, "dev": examples, "epochs": 1, "batch_size": 8}
    here = finetune("classification", workdir=tmp_path / "tuned", **given)
    there = finetune("classification", workdir="gs://bucket-one/tuned", **given)
    assert there.scores == here.scores
    assert there.figures["checkpoint"].startswith("gs://bucket-one/tuned/")
    new_machine("other")
    again = finetune("classification", workdir="gs://bucket-one/tuned", **given)
    assert again.scores == here.scores
