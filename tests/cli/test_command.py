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


_SETTINGS = """
import os, signal, sys, time
from absl import flags, logging
from bert_jax.cli import command
flags.DEFINE_integer("steps", 1, "")
flags.DEFINE_bool("untied", False, "")
flags.DEFINE_bool("packed", True, "")
flags.DEFINE_list("seeds", ["0"], "")
flags.DEFINE_multi_string("corpus", ["python_docs"], "")
flags.DEFINE_multi_string("grid", [], "")
flags.DEFINE_string("model", None, "")
flags.DEFINE_integer("batch_size", 8, "")
sys.argv = ["experiments/x.py", *sys.argv[1:]]
names = ("steps", "untied", "packed", "seeds", "corpus", "grid", "model", "batch_size")
def main():
    print([flags.FLAGS[name].value for name in names])
    print("a remark", file=sys.stderr)
    logging.info("of information")
    if flags.FLAGS.steps == 13:
        raise command.UserError("got steps=13; expected luck")
    if flags.FLAGS.steps == 14:
        command.failed("step 14 is not finite")
    if flags.FLAGS.steps == 15:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
command.run(main)
"""


def settings(*line):
    """What a command says it was given, what it said else, and how it ended."""
    done = subprocess.run(
        [sys.executable, "-c", _SETTINGS, *line],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip(), done.stderr.strip(), done.returncode


def test_a_written_config_is_given_back_and_flags_count_more(tmp_path):
    written = tmp_path / "config.json"
    written.write_text(
        '{"steps": 9, "untied": true, "packed": false, "seeds": [1, "2,b"], "corpus": ["a", "b"],'
        ' "grid": {"epochs": [2, 3]}, "model": null, "digest": "d1"}'
    )
    as_written = "[9, True, False, ['1', '2,b'], ['a', 'b'], ['epochs=2,3'], None, 8]"
    assert settings(f"--config={written}") == (as_written, "a remark", 0)
    line = ["--corpus=c", f"--config={written}", "--steps=3", "--nountied", "--packed"]
    as_said = "[3, False, True, ['1', '2,b'], ['c'], ['epochs=2,3'], None, 8]"
    assert settings(*line) == (as_said, "a remark", 0)


@pytest.mark.parametrize(
    "content, said",
    [
        (None, "No such file or directory); expected the config.json of a run"),
        ("[1]", "expected the config.json of a run"),
        ('{"horses": 2}', "with horses, which experiments.x does not have; expected the"),
        ('{"help": true}', "with help, which experiments.x does not have; expected the"),
        ('{"steps": "ten"}', "got --steps=ten; expected a whole number"),
        ('{"steps": ', "expected the config.json of a run"),
    ],
)
def test_a_config_of_another_kind_is_one_line(tmp_path, content, said):
    written = tmp_path / "config.json"
    if content is not None:
        written.write_text(content)
    out, error, status = settings(f"--config={written}")
    assert (out, status, len(error.splitlines())) == ("", 2, 1) and said in error, error


def test_quiet_prints_what_comes_out_and_what_went_wrong():
    out, error, status = settings("--quiet")
    assert (out[:2], error, status) == ("[1", "", 0)
    out, error, status = settings("--quiet", "--steps=13")
    assert (error, status) == ("experiments.x: got --steps=13; expected luck", 2)
    assert settings("--quiet", "--steps=14")[1:] == ("experiments.x: step 14 is not finite", 1)
    out, error, status = settings("--quiet", "--steps=15")
    assert error.startswith("experiments.x: stopped by SIGTERM; ") and status == 143


def test_verbosity_is_what_is_said():
    assert settings()[1] == "a remark"
    assert "of information" in settings("--verbosity=0")[1]


@pytest.mark.parametrize(
    "flag, expected",
    [
        ("--max_steps=9", "got --max_steps; expected --steps, as this command calls it"),
        ("--model_name_or_path=m", "got --model_name_or_path; expected --model, as"),
        ("--per_device_train_batch_size=9", "expected --batch_size, as this command calls it"),
        ("--do_train", "Unknown command line flag 'do_train'"),
    ],
)
def test_names_that_others_give_a_flag_are_answered_with_ours(flag, expected):
    out, error, status = settings(flag)
    assert (out, status) == ("", 2) and expected in error and len(error.splitlines()) == 1, error
