"""Two processes of one run, each on a machine of its own, whose workdir is one bucket's."""

import os
import socket
import subprocess

import jax
import numpy as np
import pytest

from bert_jax.bucket import Prefix
from bert_jax.checkpoint_files import load_params
from bert_jax.mirror import at_hand
from tests.faults.runs import REPOSITORY, command, curve, finish, kill, write_model, write_text

STEPS, RUN = 60, "gs://bucket-one/run"


def start_on(line, caches):
    """A process a machine, each of one device, with a disk and a cache folder of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = [f"--coordinator=127.0.0.1:{free.getsockname()[1]}", f"--processes={len(caches)}"]
    return [
        subprocess.Popen(
            [*line, *meeting, f"--process_id={number}"], cwd=REPOSITORY,
            env=os.environ | {"JAX_NUM_CPU_DEVICES": "1", "XDG_CACHE_HOME": str(cache)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for number, cache in enumerate(caches)
    ]  # fmt: skip


def wait_for_checkpoint(process, step):
    checkpoint = Prefix(f"{RUN}/checkpoints/{step}")
    while {"digests/data.json", ".unfinished"} & set(checkpoint.objects()) != {"digests/data.json"}:
        assert process.poll() is None, process.communicate()[0]


@pytest.mark.slow
def test_both_are_killed_and_go_on_on_empty_disks(gcs, tmp_path):
    text, model = write_text(tmp_path), write_model(tmp_path)
    options = {"steps": STEPS, "checkpoint_every": 20, "eval_every": 20, "mesh": "data:2"}
    here = command(tmp_path / "run", text, model, **options)
    for process in start_on(here, [tmp_path / "one", tmp_path / "two"]):
        finish(process)
    there = command(RUN, text, model, **options)
    processes = start_on(there, [tmp_path / "three", tmp_path / "four"])
    wait_for_checkpoint(processes[0], 40)
    for process in processes:
        kill(process)
    assert "result.json" not in Prefix(RUN).objects()
    first, other = map(finish, start_on(there, [tmp_path / "five", tmp_path / "six"]))
    assert f"continuing {RUN} from step 40" in first
    assert "Traceback" not in first + other
    copy = at_hand(RUN)
    assert curve(copy) == curve(tmp_path / "run")
    final = f"checkpoints/{STEPS}"
    found, expected = (load_params(each / final) for each in (copy, tmp_path / "run"))
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert not [name for name in Prefix(RUN).objects() if ".lock" in name]
