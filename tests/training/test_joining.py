import socket
import subprocess
import sys
import threading
import time

import jax
import pytest

from bert_jax.errors import UserError
from bert_jax.training import processes
from bert_jax.training.lost_process import lost_message
from tests.experiments.runs import REPOSITORY

JOIN = """
import sys
from bert_jax import waiting
from bert_jax.training import processes
processes.JOIN_SECONDS, processes.HEARTBEAT_SECONDS, waiting.SAY_SECONDS = 20, 3, 2
port, count, number = map(int, sys.argv[1:])
processes.join_processes(f"127.0.0.1:{port}", count, number)
"""


def join(*arguments):
    """A process of several, which gives up soon."""
    return subprocess.Popen(
        [sys.executable, "-c", JOIN, *map(str, arguments)],
        cwd=REPOSITORY, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(process):
    """What a process that gave up printed, but for what it waits for."""
    errors = process.communicate(timeout=200)[1]
    assert process.returncode == 1, errors
    lines = errors.splitlines()
    assert any(line.startswith("waiting for ") for line in lines)
    return [line for line in lines if not line.startswith("waiting for ")]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_platform_that_names_no_processes_is_a_mistake(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "experiments.pretrain", "--distributed", f"--workdir={tmp_path}/w"],
        cwd=REPOSITORY, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and not list(tmp_path.iterdir())
    assert "got no connection between the processes" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_process_0_that_does_not_answer_is_one_line(monkeypatch):
    monkeypatch.setattr(processes, "JOIN_SECONDS", 1)
    port = free_port()
    with pytest.raises(UserError, match=f"no answer from coordinator=127.0.0.1:{port} in 1 s"):
        processes.join_processes(f"127.0.0.1:{port}", 2, 1)


def test_a_process_0_that_comes_late_is_waited_for(monkeypatch):
    joined = []
    monkeypatch.setattr(processes.jax.distributed, "initialize", lambda *a, **k: joined.append(a))
    monkeypatch.setattr(processes, "_connect", lambda: None)
    port = free_port()

    def answer_late():
        time.sleep(1)
        with socket.create_server(("127.0.0.1", port)) as server:
            server.accept()[0].close()

    late = threading.Thread(target=answer_late)
    late.start()
    processes.join_processes(f"127.0.0.1:{port}", 2, 1)
    late.join()
    assert joined == [(f"127.0.0.1:{port}", 2, 1)]


def test_a_process_0_whose_partners_do_not_come_ends_in_one_line():
    lines = ended(join(free_port(), 2, 0))
    assert len(lines) == 1 and lines[0].startswith("got not all processes in 20 s; expected")


def test_a_process_0_that_goes_before_all_have_come_ends_the_others_soon():
    port = free_port()
    first, second = join(port, 3, 0), join(port, 3, 1)
    for process in (first, second):  # each says that it waits
        assert process.stderr.readline().startswith("waiting for ")
    began = time.monotonic()
    while "other processes" not in second.stderr.readline():
        assert time.monotonic() < began + 60
    first.kill()
    first.communicate()
    lines = ended(second)
    assert len(lines) == 1 and lines[0].startswith("got no more answer from process 0; expected")


@pytest.mark.parametrize(
    "said, lost",
    [
        ("UNKNOWN: Gloo all-reduce failed: Connection reset by peer\nmore", True),
        ("RESOURCE_EXHAUSTED: Out of memory allocating 7 bytes.", False),
    ],
)
def test_only_what_another_process_causes_is_told_of_it(said, lost):
    message = lost_message(jax.errors.JaxRuntimeError(said))
    assert (message is not None) == lost and lost_message(ValueError(said)) is None
    assert not lost or ("Connection reset by peer)" in message and "\n" not in message)


def test_a_process_that_jax_ends_since_another_has_gone_says_so_in_its_last_line():
    port, there = free_port(), "print('there', flush=True); import time; time.sleep(60)"
    first, second = (
        subprocess.Popen(
            [sys.executable, "-c", f"{JOIN}\n{there}", str(port), "2", str(number)],
            cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in (0, 1)
    )  # fmt: skip
    assert "there\n" in iter(second.stdout.readline, "")  # after what Gloo prints
    first.kill()
    first.communicate()
    errors = second.communicate(timeout=50)[1]
    assert second.returncode == 1
    assert errors.splitlines()[-1].startswith("got no more answer from another process of this run")
