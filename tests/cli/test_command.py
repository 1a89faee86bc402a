"""bert_jax.cli.command ends quietly where the reader of what it prints has gone, and only there."""

import os
import subprocess
import sys

from tests.experiments.runs import REPOSITORY

_PRINTS = "from bert_jax.cli import command; command.run(lambda: print('a' * {length}))"
_RAISES = """
from bert_jax.cli import command
def main():
    raise BrokenPipeError("of a socket")
command.run(main)
"""


def without_reader(program, *arguments):
    """Run a program whose standard output nobody reads."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        return subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=REPOSITORY, stdout=closed, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip


def test_printing_to_a_reader_who_has_gone_ends_without_a_traceback():
    for length in (10, 1_000_000):  # what fits a buffer and is flushed at the end, what does not
        done = without_reader(_PRINTS.format(length=length))
        assert (done.returncode, done.stderr) == (141, "")
    done = without_reader(_PRINTS.format(length=1), "--help")
    assert (done.returncode, done.stderr) == (141, "")


def test_another_broken_pipe_keeps_its_traceback():
    done = subprocess.run(
        [sys.executable, "-c", _RAISES], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("BrokenPipeError: of a socket")
