"""Runs that start from a model and move it to other pieces: killed, on a mesh, by two processes."""

import json

import jax
import numpy as np
import pytest

from bert_jax.checkpoint_files import load_params
from bert_jax.training.metrics import read_metrics
from tests.faults.runs import (
    command,
    curve,
    finish,
    kill,
    start,
    start_together,
    wait_for_step,
    write_model,
    write_text,
)  # fmt: skip

STEPS = 60
STARTED = ("initialised_from", "heldout_start_mlm_loss", "heldout_start_nsp_accuracy")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Text, a model that was trained on it, and a run that goes on from it in other pieces."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "text").mkdir()
    text, model = write_text(folder / "text"), write_model(folder)
    options = {"steps": 40, "eval_every": 0, "checkpoint_every": 0}
    finish(start(command(folder / "source", text, model, **options)))
    finish(start(line(folder, "run", mesh="fsdp:2"), devices=2))
    return folder


def line(folder, run, **changes):
    options = {
        "steps": STEPS, "init_checkpoint": folder / "source", "vocab_size": 50,
        "eval_every": 30, "checkpoint_every": 20, "keep": 9, "freeze": "segment",
        "schedule": "constant", "warmup": 6,
    } | changes  # fmt: skip
    return command(folder / run, f"{folder}/text/*.txt", f"{folder}/model.json", **options)


def result(folder, run):
    return json.loads((folder / run / "result.json").read_text())


def assert_same_run(folder, run):
    """The same as the run that nothing happened to, bit for bit."""
    assert curve(folder / run) == curve(folder / "run")
    assert read_metrics(folder / run / "heldout.jsonl") == read_metrics(
        folder / "run" / "heldout.jsonl"
    )
    jax.tree.map(
        np.testing.assert_array_equal,
        *(load_params(folder / name / "checkpoints" / str(STEPS)) for name in (run, "run")),
    )
    got, expected = result(folder, run), result(folder, "run")
    assert [got[name] for name in STARTED] == [expected[name] for name in STARTED]


def test_it_begins_where_the_source_ended_and_gets_better(folder):
    steps = [line["step"] for line in read_metrics(folder / "run" / "heldout.jsonl")]
    assert steps == [0, 30, 60]
    said = result(folder, "run")
    assert said["initialised_from"]["checkpoint"] == str(folder / "source" / "checkpoints" / "40")
    assert said["heldout_mlm_loss"] < said["heldout_start_mlm_loss"]
    first, last = (
        load_params(path)["bert"]["embeddings"]["segment"]["table"]
        for path in (folder / "source/checkpoints/40", folder / "run/checkpoints/60")
    )  # fmt: skip
    np.testing.assert_array_equal(first, last)


def test_killed_and_continued_without_its_source_it_is_the_same_bit_for_bit(folder):
    options = line(folder, "killed", mesh="fsdp:2")
    process = start(options, devices=2)
    wait_for_step(process, folder / "killed", 1)  # no checkpoint yet: it starts over
    kill(process)
    process = start(options, devices=2)
    wait_for_step(process, folder / "killed", 45)  # the checkpoint of step 20 is whole
    kill(process)
    (folder / "source").rename(folder / "gone")
    try:
        output = finish(start(options, devices=2))
    finally:
        (folder / "gone").rename(folder / "source")
    assert "continuing" in output
    assert_same_run(folder, "killed")


def test_two_processes_equal_one_bit_for_bit(folder):
    for process in start_together(line(folder, "two", mesh="fsdp:2"), 2):
        finish(process)
    assert_same_run(folder, "two")


def test_eight_devices_begin_and_learn_like_two(folder):
    """50 rows of pieces on a tensor axis of 2 and an fsdp axis of 2 are padded."""
    finish(start(line(folder, "eight", mesh="data:2,fsdp:2,tensor:2", steps=10), devices=8))
    got, expected = result(folder, "eight"), result(folder, "run")
    assert got["heldout_start_mlm_loss"] == pytest.approx(
        expected["heldout_start_mlm_loss"], rel=1e-6
    )
    assert got["heldout_start_nsp_accuracy"] == expected["heldout_start_nsp_accuracy"]
    for ours, theirs in zip(curve(folder / "eight"), curve(folder / "run")[:10], strict=True):
        assert ours["mlm_loss"] == pytest.approx(theirs["mlm_loss"], rel=1e-4)
