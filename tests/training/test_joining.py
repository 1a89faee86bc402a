import socket
import subprocess
import sys
import threading
import time

import pytest

from bert_jax.errors import UserError
from bert_jax.training import processes
from tests.experiments.runs import REPOSITORY

JOIN = """
import sys
from bert_jax.training import processes
processes.JOIN_SECONDS, processes.HEARTBEAT_SECONDS, processes._SAY_SECONDS = 20, 3, 2
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
    assert process.returncode == 2, errors
    lines = errors.splitlines()
    assert any(line.startswith("waiting for ") for line in lines)
    return [line for line in lines if not line.startswith("waiting for ")]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


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
