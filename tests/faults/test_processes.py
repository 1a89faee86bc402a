"""Runs of several processes on this machine: stopped, killed, continued by more or by fewer."""

import signal
import time

import jax
import numpy as np
import pytest

from bert_jax.checkpoint_files import load_params
from tests.faults.runs import (
    command,
    curve,
    finish,
    flip_a_bit,
    kill,
    start,
    start_together,
    wait_for_step,
    write_model,
    write_text,
)  # fmt: skip

STEPS = 60


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    """A finished run of one process with two devices; its folder, corpus and model."""
    folder = tmp_path_factory.mktemp("one_process")
    model = write_model(folder)
    (folder / "text").mkdir()
    text = write_text(folder / "text")
    finish(start(line(folder / "run", text, model, mesh="fsdp:2"), devices=2))
    return folder / "run", str(folder / "run" / "corpus"), model


def line(workdir, corpus, model, **changes):
    options = {"steps": STEPS, "checkpoint_every": 20, "eval_every": 20, "mesh": ""} | changes
    return command(workdir, corpus, model, **options)


def final_params(workdir):
    return load_params(workdir / "checkpoints" / str(STEPS))


def stop(processes, number):
    """SIGTERM to one: all end with 0; returns the step that they saved."""
    processes[number].send_signal(signal.SIGTERM)
    printed = [finish(process) for process in processes]
    assert [text.count("stopped and saved") for text in printed[1:]] == [0] * (len(printed) - 1)
    return int(printed[0].split("stopped and saved at step ")[1].split()[0])


def test_two_processes_equal_one_bit_for_bit_though_stopped_and_killed(one_process, tmp_path):
    expected, corpus, model = one_process
    run = tmp_path / "run"
    options = line(run, corpus, model, mesh="fsdp:2")

    for killed, step in ((1, 22), (0, 26)):
        processes = start_together(options, 2)
        wait_for_step(processes[0], run, step)
        kill(processes[killed])
        began = time.monotonic()
        processes[1 - killed].communicate(timeout=60)
        assert time.monotonic() - began < 30
        assert processes[1 - killed].returncode not in (0, None)

    processes = start_together(options, 2)
    wait_for_step(processes[0], run, 30)
    step = stop(processes, 1)
    assert (run / "checkpoints" / str(step)).is_dir()

    printed = [finish(process) for process in start_together(options, 2)]
    assert f"continuing {run} from step {step}" in printed[0]
    lines = [text for text in printed[1].splitlines() if not text.startswith("[Gloo]")]
    assert lines == []
    assert curve(run) == curve(expected)
    assert (run / "heldout.jsonl").read_text() == (expected / "heldout.jsonl").read_text()
    jax.tree.map(np.testing.assert_array_equal, final_params(run), final_params(expected))


def test_four_processes_then_two_then_one_see_the_same_batches(one_process, tmp_path):
    expected, corpus, model = one_process
    run = tmp_path / "run"
    options = line(run, corpus, model)
    for processes, step, number in ((4, 5, 3), (2, 25, 0)):
        started = start_together(options, processes)
        wait_for_step(started[0], run, step)
        assert stop(started, number) < STEPS
    finish(start(options))
    for got, wanted in zip(curve(run), curve(expected), strict=True):
        assert got.keys() == wanted.keys()
        for name in got:
            rtol = 1e-6 if "loss" in name else 1e-5
            np.testing.assert_allclose(got[name], wanted[name], rtol=rtol, err_msg=name)


def test_an_axis_may_cross_processes_of_several_devices(one_process, tmp_path):
    """Two processes of two devices, heads and feed-forward split over all four."""
    _, corpus, model = one_process
    mesh = "data:1,tensor:4"
    alone, together = (
        line(tmp_path / name, corpus, model, mesh=mesh, steps=20) for name in ("alone", "together")
    )
    finish(start(alone, devices=4))
    for process in start_together(together, 2, devices=2):
        finish(process)
    for got, wanted in zip(curve(tmp_path / "together"), curve(tmp_path / "alone"), strict=True):
        for name in got:
            np.testing.assert_allclose(got[name], wanted[name], rtol=1e-6, err_msg=name)


def test_processes_agree_on_what_is_damaged(one_process, tmp_path):
    expected, corpus, model = one_process
    options = line(tmp_path / "run", corpus, model, mesh="fsdp:2")
    for process in start_together(options, 2):
        finish(process)
    flip_a_bit(tmp_path / "run" / "checkpoints" / str(STEPS))
    printed = [finish(process) for process in start_together(options, 2)]
    assert f"{STEPS} is damaged (" in printed[0] and "damaged" not in printed[1]
    assert f"from step {STEPS - 20}" in printed[0]
    assert curve(tmp_path / "run") == curve(expected)
    jax.tree.map(
        np.testing.assert_array_equal, final_params(tmp_path / "run"), final_params(expected)
    )
