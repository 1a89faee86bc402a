"""Whoever starts a run, and whatever takes it away: it ends finished, with the bits it would have.

First an experiment that is no experiment, only an exit status; then real ones.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from bert_jax.checkpoint_files import load_params
from tests.faults.runs import STEPS, command, curve, finish, start, write_model, write_text
from tests.launch.platforms import PLATFORMS, processes_with

pytestmark = pytest.mark.platforms

# Ends with the first line of `statuses` that is left, and leaves a result after 0.
_STUB = """#!/bin/bash
for word in "$@"; do case $word in --workdir=*) made=${word#*=} ;; esac; done
cd "$made"
read -r status <statuses
sed -i 1d statuses
echo "$status" >>seen
[ "$status" != 0 ] || touch result.json
exit "$status"
"""


@pytest.fixture
def folder():
    """A folder that the scripts do not take for a machine's own."""
    if not Path("/mnt").is_dir():
        pytest.skip("there is no /mnt")
    try:
        made = Path(tempfile.mkdtemp(prefix="bert_jax_", dir="/mnt"))
    except OSError:
        pytest.skip("/mnt cannot be written")
    yield made
    for pid in processes_with(str(made)):  # what a test that failed has left
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(made, ignore_errors=True)


@pytest.mark.parametrize(
    "statuses, outcome, seen",
    [
        ("143 0", "finished", "143 0"),
        ("137 0", "finished", "137 0"),
        ("2 0", "mistake", "2"),
    ],
)
@pytest.mark.parametrize("name", sorted(PLATFORMS))
def test_the_exit_status_decides(folder, name, statuses, outcome, seen):
    run = folder / "disk/run"
    run.mkdir(parents=True)
    (run / "statuses").write_text(statuses.replace(" ", "\n") + "\n")
    (folder / "stub").write_text(_STUB)
    (folder / "stub").chmod(0o755)
    if (name, outcome) == ("SkyPilot", "mistake"):  # it tries a mistake three times more
        outcome, seen = "finished", "2 0"
    platform = PLATFORMS[name](folder, ["pretrain", f"--workdir={run}"], python=folder / "stub")
    platform.begin()
    assert platform.outcome() == outcome, (folder / "log").read_text()
    assert (run / "seen").read_text().split() == seen.split()
    assert (run / "result.json").exists() == (outcome == "finished")


@pytest.mark.parametrize("name, tries", [("local", 4), ("Slurm", 11), ("GKE", 4), ("SkyPilot", 4)])
def test_faults_that_do_not_end_are_given_up(folder, name, tries):
    run = folder / "disk/run"
    run.mkdir(parents=True)
    (run / "statuses").write_text("1\n" * 30)
    (folder / "stub").write_text(_STUB)
    (folder / "stub").chmod(0o755)
    words = ["pretrain", f"--workdir={run}"]
    platform = PLATFORMS[name](folder, words, python=folder / "stub")
    platform.begin()
    assert platform.outcome() == "failed"
    assert len((run / "seen").read_text().split()) == tries


# The matrix.

DISTURBANCES = ("nothing", "told_to_stop", "kill", "drain", "lose", "bucket away")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run that nothing happened to, its corpus and model, and a cache of compiled programs."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "undisturbed"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:  # one worker makes it, the others wait
        fcntl.flock(lock, fcntl.LOCK_EX)
        model = write_model(folder)
        if not (folder / "run/result.json").exists():
            (folder / "text").mkdir()
            finish(start(command(folder / "run", write_text(folder / "text"), model)))
    return folder / "run", str(folder / "run" / "corpus"), model, folder / "cache"


@pytest.mark.parametrize("disturbance", DISTURBANCES)
@pytest.mark.parametrize("name", sorted(PLATFORMS))
def test_a_run_ends_with_the_bits_of_an_undisturbed_one(undisturbed, folder, name, disturbance):
    expected, corpus, model, cache = undisturbed
    run = folder / "disk/run"
    run.parent.mkdir()
    words = ["pretrain", *command(run, corpus, model)[3:]]
    cached = {
        "JAX_NUM_CPU_DEVICES": "1", "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }  # fmt: skip
    platform = PLATFORMS[name](folder, words, environment=cached)
    platform.begin()
    if disturbance != "nothing":
        _wait_for_step(platform, run, 20)
        assert not (run / "result.json").exists()
        if disturbance == "bucket away":
            _take_away(platform, run.parent)
        else:
            getattr(platform, disturbance)()
    assert platform.outcome() == "finished", (folder / "log").read_text()[-3000:]
    assert (run / "result.json").exists()
    assert _started(platform, folder) == (1 if disturbance == "nothing" else 2)
    assert curve(run) == curve(expected)
    assert (run / "heldout.jsonl").read_text() == (expected / "heldout.jsonl").read_text()
    final = [load_params(each / "checkpoints" / str(STEPS)) for each in (run, expected)]
    jax.tree.map(np.testing.assert_array_equal, *final)


def _wait_for_step(platform, run, step):
    metrics, deadline = run / "metrics.jsonl", time.monotonic() + 300
    while not metrics.exists() or metrics.read_text().count("\n") < step:
        assert time.monotonic() < deadline, (platform.folder / "log").read_text()[-3000:]
        time.sleep(0.002)


def _take_away(platform, disk):
    """Take a disk away until the run has noticed; a mount that has gone is an empty folder."""
    before = set(platform.processes())
    disk.rename(disk.with_name("away"))
    disk.mkdir()
    while before & set(platform.processes()):
        time.sleep(0.002)
    shutil.rmtree(disk)
    disk.with_name("away").rename(disk)


def _started(platform, folder):
    if platform.tries == 1 and (folder / "count").exists():
        machines = int((folder / "count").read_text())
        return max(machines, platform.starts())
    if platform.tries == 1:
        return 1 + (folder / "log").read_text().count("starting it again")
    return platform.tries
