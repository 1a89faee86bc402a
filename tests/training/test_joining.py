import socket
import threading
import time

import pytest

from bert_jax.errors import UserError
from bert_jax.training import processes


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
