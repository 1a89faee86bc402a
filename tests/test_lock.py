"""One process at a time in a folder; what a killed one left locked is free at once."""

import dataclasses
import errno
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from bert_jax import lock
from bert_jax.errors import DiskError, UserError
from bert_jax.lock import alone_in, alone_making
from bert_jax.owner import Owner

STAY = """
import sys, time
from bert_jax.lock import alone_in
with alone_in(sys.argv[1], "workdir=x"):
    print("in", flush=True)
    time.sleep(600)
"""


def stay(folder, *within):
    """Another process, which has the folder to itself."""
    command = [*within, sys.executable, "-c", STAY, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "in\n"
    return process


def kill(process):
    process.kill()
    process.communicate()


def test_the_second_is_refused_and_a_killed_one_is_followed_at_once(tmp_path, capsys):
    other = stay(tmp_path / "run")
    with (
        pytest.raises(UserError, match=rf"where process {other.pid} of host .* is running"),
        alone_in(tmp_path / "run", "workdir=x"),
    ):
        pass
    kill(other)
    with alone_in(tmp_path / "run", "workdir=x"):
        said = capsys.readouterr().err
        assert said.startswith(f"workdir=x was left locked by process {other.pid} of host ")
        assert said.endswith("taken over\n") and said.count("\n") == 1
    with alone_in(tmp_path / "run", "workdir=x"):
        assert capsys.readouterr().err == ""
    assert list((tmp_path / "run").iterdir()) == []


def test_in_containers_too(tmp_path, new_pid_namespace, capsys):
    """Each is process 1 of the same host, and cannot see the others."""
    for _ in range(2):
        other = stay(tmp_path, *new_pid_namespace)
        with pytest.raises(UserError, match="process 1 of host"), alone_in(tmp_path, "workdir=x"):
            pass
        kill(other)
        again = stay(tmp_path, *new_pid_namespace)
        kill(again)
    with alone_in(tmp_path, "workdir=x"):
        assert "was left locked by process 1 of host" in capsys.readouterr().err


def test_what_was_made_for_it_goes_again(tmp_path):
    with pytest.raises(ZeroDivisionError), alone_in(tmp_path / "a" / "b", "workdir=x"):
        assert (tmp_path / "a" / "b" / ".lock").is_file()
        raise ZeroDivisionError
    with alone_making(tmp_path / "books", "data_dir=x"), alone_making(tmp_path / "books", "again"):
        assert [path.name for path in tmp_path.iterdir()] == [".books.lock"]
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match="got workdir=x, which cannot be written"),
        alone_in(tmp_path / "file", "workdir=x"),
    ):
        pass


def of_another_host(folder):
    """A lock that a process of another host has, or had."""
    note = dataclasses.replace(lock.Note.mine(), owner="far-00000000-7-1", boot="another")
    (folder / ".lock").write_text(json.dumps(dataclasses.asdict(note)))


def test_of_another_host_the_age_decides(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(lock, "_BEAT", 0.1)
    monkeypatch.setattr(lock, "_SILENT", 1.0)
    of_another_host(tmp_path)
    os.utime(tmp_path / ".lock", (time.time() - 60, time.time() - 60))
    with alone_in(tmp_path, "workdir=x"):
        assert capsys.readouterr().err.startswith("workdir=x was left locked by process 7 of host")

    of_another_host(tmp_path)
    with alone_in(tmp_path, "workdir=x"):  # it might be there, and is not
        said = capsys.readouterr().err.splitlines()
        assert "waiting 1 s to see whether it is still running" in said[0]
        assert said[1].endswith("taken over")

    of_another_host(tmp_path)
    over = threading.Event()
    descriptor = os.open(tmp_path / ".lock", os.O_RDWR)
    heart = threading.Thread(target=lock._beat, args=(descriptor, over))
    heart.start()
    try:
        with (
            pytest.raises(UserError, match="process 7 of host far"),
            alone_in(tmp_path, "workdir=x"),
        ):
            pass
    finally:
        over.set()
        heart.join()
        os.close(descriptor)


def test_it_is_touched_while_it_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_BEAT", 0.05)
    with alone_in(tmp_path, "workdir=x"):
        os.utime(tmp_path / ".lock", (0, 0))
        deadline = time.monotonic() + 30
        while (tmp_path / ".lock").stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (tmp_path / ".lock").stat().st_mtime > 0


def test_where_files_cannot_be_locked_the_owner_decides(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lock, "_flock", lambda _: None)
    other = stay(tmp_path)
    with pytest.raises(UserError, match="is running"), alone_in(tmp_path, "workdir=x"):
        pass
    kill(other)
    with alone_in(tmp_path, "workdir=x"):
        assert "taken over" in capsys.readouterr().err
        note = json.loads((tmp_path / ".lock").read_text())
        assert Owner.parse(note["owner"]) == Owner.here()


@pytest.mark.parametrize("number, passing", [(errno.ENOTCONN, True), (errno.EACCES, False)])
def test_a_mount_that_has_gone_may_come_back(tmp_path, monkeypatch, number, passing):
    def refuse(*given, **more):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock.os, "open", refuse)
    with pytest.raises(DiskError, match="cannot be written") as caught, alone_in(tmp_path, "x=y"):
        pass
    assert caught.value.passing is passing
