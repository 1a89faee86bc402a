"""Signals: which end a command, how soon, with which line and status, and what stays behind."""

import os
import pty
import signal
import subprocess
import sys
import time

import pytest

from tests.experiments.runs import REPOSITORY

_PROGRAM = """
import os, sys, time
from pathlib import Path
from bert_jax.cli import command, stopping
from bert_jax.stop_request import StopRequest
from bert_jax.whole_file import whole_file, partial_folder
stopping._GRACE_SECONDS = 1.0
sys.argv = ["experiments/job.py"]
FOLDER = Path({folder!r})

def ready():
    (FOLDER / "ready").touch()

def writing():
    with whole_file(FOLDER / "file") as partial, partial_folder(FOLDER / "folder"):
        partial.write_text("half")
        ready()
        time.sleep(60)

def compiled():
    from hashlib import pbkdf2_hmac
    ready()
    pbkdf2_hmac("sha256", b"", b"", 10**9)

def tidying():
    try:
        ready()
        time.sleep(60)
    finally:
        stopping._GRACE_SECONDS = 60
        time.sleep(60)

def collecting():
    import gc

    def callback(phase, info):
        if not ready_before:
            ready_before.append(True)
            ready()
            time.sleep(2)

    class Finalised:
        def __del__(self):
            time.sleep(2)

    ready_before = []
    try:
        gc.callbacks.append(callback)
        gc.collect()
        Finalised()
        time.sleep(60)
    finally:
        print("tidied", flush=True)

def training():
    with StopRequest() as stop:
        for step in range(10**9):
            time.sleep(0.01)
            if stop:
                time.sleep(1.5)  # saves, longer than what is not saved may take
                print("saved", file=sys.stderr)
                break
            if step == 3:
                ready()
    (FOLDER / "saved").touch()
    command.stopped()

def early():
    with StopRequest() as stop:
        ready()
        time.sleep(60)  # compiles its first step
        bool(stop)

command.run({main})
"""

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
NAME = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}


def begin(folder, main, before="", **options):
    program = before + _PROGRAM.format(folder=str(folder), main=main)
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=REPOSITORY, text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} | options,
    )  # fmt: skip
    until = time.monotonic() + 120
    while not (folder / "ready").exists() and time.monotonic() < until and process.poll() is None:
        time.sleep(0.01)
    (folder / "ready").unlink()
    return process


def end(process, status, within=8.0):
    """Its lines; they must come soon, and with that status."""
    began = time.monotonic()
    output, _ = process.communicate(timeout=60)
    assert time.monotonic() < began + within
    assert process.returncode == status, output
    return (output or "").splitlines()


@pytest.mark.parametrize("number", STATUS)
@pytest.mark.parametrize("main", ["writing", "early"])
def test_the_first_takes_away_what_is_half_written(tmp_path, main, number):
    process = begin(tmp_path, main)
    process.send_signal(number)
    assert end(process, STATUS[number]) == [
        f"experiments.job: stopped by {NAME[number]}; nothing is half-written, and the same command"
        " starts over"
    ]
    assert list(tmp_path.iterdir()) == []


def test_an_exception_that_python_lets_not_out_is_raised_again(tmp_path):
    """In a callback of the garbage collector, and once more in a finaliser."""
    process = begin(tmp_path, "collecting", "from bert_jax.cli import stopping;")
    process.send_signal(signal.SIGTERM)
    tidied, line = end(process, 143)
    assert tidied == "tidied" and line.startswith("experiments.job: stopped by SIGTERM; ")


def test_compiled_code_is_not_waited_for(tmp_path):
    process = begin(tmp_path, "compiled")
    process.send_signal(signal.SIGTERM)
    (line,) = end(process, 143)
    assert line.startswith("experiments.job: stopped by SIGTERM; ")


def test_the_second_ends_at_once(tmp_path):
    process = begin(tmp_path, "tidying")
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    (line,) = end(process, 130, within=1.0)
    assert line.startswith("experiments.job: stopped by Ctrl-C; ")


@pytest.mark.parametrize("number", STATUS)
def test_a_loop_saves_first(tmp_path, number):
    process = begin(tmp_path, "training")
    process.send_signal(number)
    process.send_signal(number)  # the process and its group, as `timeout` does
    assert end(process, STATUS[number]) == ["saved"]
    assert (tmp_path / "saved").exists() or number == signal.SIGINT


def test_the_second_ends_a_loop_that_saves(tmp_path):
    process = begin(tmp_path, "training")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    (line,) = end(process, 143, within=1.0)
    assert line.startswith("experiments.job: stopped by SIGTERM; ")


def test_what_is_ignored_stays_ignored(tmp_path):
    process = begin(
        tmp_path, "training", "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    )
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert end(process, 143) == ["saved"]


def test_a_lost_terminal_stops_and_does_not_keep_it_from_saving(tmp_path):
    ours, terminal = pty.openpty()
    process = begin(
        tmp_path, "training", "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)",
        stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
    )  # fmt: skip
    os.close(terminal)
    os.close(ours)
    end(process, 129)
    assert (tmp_path / "saved").exists()
