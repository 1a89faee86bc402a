"""bert_jax.cli.command: where the reader of what it prints has gone, and how mistakes are named."""

import os
import subprocess
import sys

import pytest

from bert_jax.cli.command import print_table, with_flags
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


def test_the_list_of_jobs_ends_quietly_where_nobody_reads_it():
    listing = "import sys; sys.argv = ['bert-jax']; from bert_jax.cli.main import main; main()"
    done = without_reader(listing)
    assert (done.returncode, done.stderr) == (141, "")


_NUMBERS = """
import sys
from absl import flags
from bert_jax.cli import command
flags.DEFINE_integer("steps", 1, "")
flags.DEFINE_float("rate", 1.0, "")
flags.DEFINE_multi_integer("size", [1], "")
sys.argv = ["experiments/x.py", sys.argv[1]]
command.run(lambda: print("done"))
"""


@pytest.mark.parametrize(
    "flag, expected",
    [
        ("--steps=nan", "a whole number"), ("--steps=1.5", "a whole number"),
        ("--steps=", "a whole number"), ("--size=big", "a whole number"),
        ("--rate=fast", "a number"), ("--rate=nan", "a finite number"),
        ("--rate=inf", "a finite number"), ("--rate=-inf", "a finite number"),
        ("--rate=1e999", "a finite number"),
    ],
)  # fmt: skip
def test_a_flag_that_is_no_number_is_said_in_our_words(flag, expected):
    done = subprocess.run(
        [sys.executable, "-c", _NUMBERS, flag], cwd=REPOSITORY, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    said = flag.replace("1e999", "inf")
    assert done.stderr == f"experiments.x: got {said}; expected {expected}\n"
    assert (done.returncode, done.stdout) == (2, "")


def test_another_broken_pipe_keeps_its_traceback():
    done = subprocess.run(
        [sys.executable, "-c", _RAISES], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("BrokenPipeError: of a socket")


def test_arguments_are_named_as_flags_where_the_command_has_them_and_values_stay():
    flag_of = {"steps": "steps", "data_dir": "corpus"}
    for message, shown in {
        "got steps=0; expected 1 or more": "got --steps=0; expected 1 or more",
        "got hidden_size=3, steps=2": "got hidden_size=3, --steps=2",
        "got data_dir='a'; `data_dir` or `other`": "got --corpus='a'; --corpus or `other`",
        "got 'it\\'s steps=4'; expected steps=5": "got 'it\\'s steps=4'; expected --steps=5",
        "the runs' steps=1 aren't \"`steps`\"": "the runs' --steps=1 aren't \"`steps`\"",
        "got --steps=1, a.steps=2, /x/steps=3, --grid=steps=4, steps == 5": None,
    }.items():
        assert with_flags(message, flag_of) == (shown or message)


_ENDS = """
import sys
from bert_jax.cli import command
from bert_jax.errors import DiskError, LostProcessError, UserError
ends = {"finished": None, "stopped": None, "mistake": UserError("m"), "full": DiskError("m")}
ends |= {"disk": DiskError("m", passing=True), "process": LostProcessError("m"),
         "mount": OSError(107, "m", "f"), "bug": ValueError("m"), "Ctrl-C": KeyboardInterrupt()}
how = sys.argv.pop()
def main():
    if how == "stopped":
        command.stopped()
    if ends[how] is not None:
        raise ends[how]
command.run(main)
"""


@pytest.mark.parametrize(
    "how, status",
    [
        ("finished", 0), ("stopped", 143), ("Ctrl-C", 130), ("mistake", 2), ("full", 2),
        ("disk", 1), ("process", 1), ("mount", 1), ("bug", 1),
    ],
)  # fmt: skip
def test_the_exit_status_says_whether_the_same_command_may_go_well_later(how, status):
    done = subprocess.run([sys.executable, "-c", _ENDS, how], cwd=REPOSITORY, capture_output=True)
    assert done.returncode == status
    assert (b"Traceback" in done.stderr) == (how == "bug")
    assert done.stderr.count(b"\n") == 1 or status in (0, 143, 130) or how == "bug"


_NAMES = """
from absl import flags
from bert_jax.cli import command
from bert_jax.errors import UserError
flags.DEFINE_integer("steps", 1, "")
flags.DEFINE_string("corpus", "", "")
def main():
    raise UserError("got steps=0, data_dir='steps=1' and v=2; expected\\n `text` or `data_dir`")
command.run(main, flag_of={"data_dir": "corpus"})
"""


def test_a_command_names_its_own_flags_in_one_line():
    done = subprocess.run(
        [sys.executable, "-c", _NAMES], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    line = "got --steps=0, --corpus='steps=1' and v=2; expected `text` or --corpus\n"
    assert done.stderr == f"experiments.-c: {line}"


def test_a_table_shows_every_text_whole_and_as_it_is(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    path = "/runs/" + "deep/" * 20 + "checkpoints/450"
    print_table("runs/[bold]", {"splitting": r"\[[^\]]+\]|Br", "[nH]": "[/x] :o:", "path": path})
    title, *lines = capsys.readouterr().out.splitlines()
    assert title.rstrip() == "runs/[bold]"
    cells = [[cell.strip() for cell in line.split("│")[1:3]] for line in lines if "│" in line]
    assert cells[:2] == [["splitting", r"\[[^\]]+\]|Br"], ["[nH]", "[/x] :o:"]]
    assert "".join(cell for _, cell in cells[2:]) == path
