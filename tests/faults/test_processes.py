"""Runs of several processes on this machine: stopped, killed, continued by more or by fewer."""

import signal
import time

import jax
import numpy as np
import pytest

from bert_jax.checkpoint_files import load_params
from tests.faults.runs import (
    STOPPED,
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
    """SIGTERM to one: all end with 143; returns the step that they saved."""
    processes[number].send_signal(signal.SIGTERM)
    printed = [finish(process, STOPPED) for process in processes]
    assert [text.count("stopped and saved") for text in printed[1:]] == [0] * (len(printed) - 1)
    return int(printed[0].split("stopped and saved at step ")[1].split(":")[0])


def test_two_processes_equal_one_bit_for_bit_though_stopped_and_killed(one_process, tmp_path):
    """Whether or not process 1 sees the folder that process 0 writes to."""
    expected, corpus, model = one_process
    run, other = tmp_path / "run", tmp_path / "other"
    options = line(run, corpus, model, mesh="fsdp:2")
    apart = [f"--workdir={other}"]

    for killed, step, flags in ((1, 22, ()), (0, 26, apart)):
        processes = start_together(options, 2, others=flags)
        wait_for_step(processes[0], run, step)
        kill(processes[killed])
        began = time.monotonic()
        printed = processes[1 - killed].communicate(timeout=60)[0]
        assert time.monotonic() - began < 30
        assert processes[1 - killed].returncode == 1 and "Traceback" not in printed
        assert "got no more answer from another process of this run" in printed.splitlines()[-1]

    processes = start_together(options, 2)
    wait_for_step(processes[0], run, 30)
    step = stop(processes, 1)
    assert (run / "checkpoints" / str(step)).is_dir()

    printed = [finish(process) for process in start_together(options, 2, others=apart)]
    assert f"continuing {run} from step {step}" in printed[0]
    lines = [text for text in printed[1].splitlines() if not text.startswith("[Gloo]")]
    assert lines == []
    assert [path.name for path in other.iterdir()] == ["config.json"]
    assert curve(run) == curve(expected)
    assert (run / "heldout.jsonl").read_text() == (expected / "heldout.jsonl").read_text()
    jax.tree.map(np.testing.assert_array_equal, final_params(run), final_params(expected))


def test_told_to_stop_before_the_first_step_they_end_as_one_does(one_process, tmp_path):
    """The jax of several processes has SIGTERM to itself, and heeds it between steps alone."""
    expected, corpus, model = one_process
    run, text = tmp_path / "run", corpus.removesuffix("/run/corpus") + "/text/*.txt"
    options = line(run, text, model, mesh="fsdp:2")
    for told in ((0, 1), (0,)):
        processes = start_together(options, 2)
        while not (run / "config.json").exists():
            time.sleep(0.01)
        for number in told:
            processes[number].send_signal(signal.SIGTERM)
        printed = [process.communicate(timeout=60)[0] for process in processes]
        assert [process.returncode for process in processes] == [143, 143 if 1 in told else 1]
        assert "Traceback" not in "".join(printed)
        assert "stopped by SIGTERM; what " in printed[0].splitlines()[-1]
        assert ("stopped by SIGTERM" if 1 in told else "from process 0") in printed[1]
        assert [path.name for path in run.iterdir()] == ["config.json"]
        (run / "config.json").unlink()
    finish(start(options, devices=2))
    assert curve(run) == curve(expected)


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


def test_a_disk_that_is_gone_ends_every_process_in_one_line(one_process, tmp_path):
    _, corpus, model = one_process
    run = tmp_path / "run"
    processes = start_together(line(run, corpus, model, mesh="fsdp:2", steps=10_000), 2)
    wait_for_step(processes[0], run, 22)
    (run / "checkpoints").rename(tmp_path / "away")
    (run / "checkpoints").touch()
    first, other = (process.communicate(timeout=300)[0].splitlines()[-1] for process in processes)
    assert "which cannot be written (what was in" in first
    assert "got no checkpoint from process 0; expected its message to say why" in other
    assert [process.returncode for process in processes] == [1, 1]
