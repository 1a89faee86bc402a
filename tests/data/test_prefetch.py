import os
import signal
import subprocess
import sys
import time
from pathlib import Path

WORKER_SCRIPT = """
import multiprocessing, os, signal, sys, time
import numpy as np
from bert_jax.data.documents import Documents
from bert_jax.data.loader import Batches, Phase, RowSettings
from bert_jax.data.worker_process import live_with_parent

class Vocabulary:
    vocab_size, pad_id, cls_id, sep_id, mask_id, special_ids = 50, 0, 2, 3, 4, (0, 1, 2, 3, 4)
    is_continuation = np.zeros(50, bool)

def make():
    pieces = np.arange(2000, dtype=np.uint16) % 45 + 5
    documents = Documents(pieces, np.arange(0, 2001, 8), np.arange(0, 251, 10))
    phases, settings = [Phase(32, 0.5), Phase(64, 0.5)], RowSettings(8, max_instances=2)
    return Batches(documents, Vocabulary(), seed=0, steps=20, phases=phases, settings=settings)

def sleep(ready):
    live_with_parent()
    ready.set()
    time.sleep(100)

if __name__ == "__main__" and sys.argv[1:] == ["be killed"]:
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    spawn.Process(target=sleep, args=(ready,)).start()
    ready.wait()
    os.kill(os.getpid(), signal.SIGKILL)
elif __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: None)
    held, stream = [], make().iterate(3, workers=2)
    for step in range(3, 14):
        batch, expected = next(stream), make()[step]
        assert list(batch) == list(expected)
        for name, array in expected.items():
            assert batch[name].dtype == array.dtype
            np.testing.assert_array_equal(batch[name], array, err_msg=f"{step} {name}")
        held.append(batch)
        if step == 4:
            os.killpg(0, signal.SIGTERM)  # which workers survive, as in a job that is preempted
    print("same")
"""


def run_worker_script(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    # In a process of its own, since workers import its main script.
    script = folder / "script.py"
    script.write_text(WORKER_SCRIPT)
    return subprocess.run(
        [sys.executable, "-W", "error", script, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        start_new_session=True,
        check=False,
    )


def test_worker_processes_make_the_same_batches_through_a_preemption_and_leave_quietly(tmp_path):
    # The script drops its stream, half read, only when the interpreter does.
    done = run_worker_script(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "same\n", "")


def test_worker_processes_end_with_a_killed_parent(tmp_path):
    start = time.monotonic()
    done = run_worker_script(tmp_path, "be killed")
    # The pipes are closed, and so run() returns, when the worker has ended as well.
    assert done.returncode == -signal.SIGKILL
    assert time.monotonic() - start < 60
