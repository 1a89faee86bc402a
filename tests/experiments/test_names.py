"""Every flag that takes text, with names that no file can have and files that are none.

With FUZZ=1 every flag gets every name; else each of its flags a few of them, in turn.
"""

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
from itertools import cycle, islice
from pathlib import Path

import pytest
from absl import flags

from bert_jax.arguments import path_like
from bert_jax.errors import UserError
from tests.budget import TIMES
from tests.experiments.runs import REPOSITORY, run_each
from tests.experiments.test_numbers import JOBS, begin, folder, job, outcome

__all__ = ["folder"]  # the fixture

RUN_WHOLE = {
    "convert": ("--from=whole", "--to=out", "--overwrite"),
    "unpickle": ("--from=whole", "--to=out", "--overwrite"),
}
FROM_TEXT = ("ablate_embeddings", "audit_updates", "pretrain")
LATER = ("bert_jax.data.preparation.learn_from", "bert_jax.data.preparation.build_corpus")
SECONDS = 100

NAMES = {
    "300 letters": "x" * 300,
    "no UTF-8": os.fsdecode(b"a\xff"),
    "zeros": "zeros",
    "under a loop": "loop/a",
    "a folder": "a folder",
    "a folder of 300": f"{'x' * 300}/a",
    "in a folder": f"a folder/{'é' * 200}.txt",
    "a path of 5000": "a/" * 2500,
    "a new line": "a\nb",
    "a blank behind": "text.txt ",
    "under a file": "texts.txt/a",
    "a loop": "loop",
    "a longer loop": "round",
    "a broken link": "gone",
    "nothing": "nothing",
    "random": "random",
    "a bracket": "a[b",
}
AT_ONCE = 2  # names a flag
DEVICES = {"zeros": (5, "/dev/zero"), "random": (9, "/dev/urandom"), "nothing": (3, "/dev/null")}


def put_odd_files():
    """What stands behind the names, here.

    The devices are our own where we may make some: who may, may also replace those in /dev.
    """
    Path("a folder").mkdir(exist_ok=True)
    links = {"loop": "loop", "round": "trip", "trip": "round", "gone": "none"}
    if os.geteuid():
        links |= {name: path for name, (_, path) in DEVICES.items()}
    for name, other in links.items():
        if not Path(name).is_symlink():
            with contextlib.suppress(OSError):
                Path(name).unlink()
            Path(name).symlink_to(other)
    for name, (minor, _) in DEVICES.items():
        if os.geteuid() == 0 and not Path(name).is_char_device():
            os.mknod(name, 0o666 | stat.S_IFCHR, os.makedev(1, minor))


def text_flags():
    """Those that take any text."""
    for module, defined in flags.FLAGS.flags_by_module_dict().items():
        if module.partition(".")[0] != "absl":
            for flag in defined:
                if type(flag.parser) in (flags.ArgumentParser, flags.ListParser):
                    yield flag.name


@contextlib.contextmanager
def ending(case):
    """Fails where the block does not end soon."""

    def stop(*_):
        raise AssertionError(f"{case} took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", [*JOBS, *RUN_WHOLE])
def test_a_name_is_refused_in_one_line_or_runs(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", sys.argv)
    with job(name) as module:
        given, begins = JOBS.get(name, (RUN_WHOLE.get(name), None))
        for where in LATER if name in FROM_TEXT else filter(None, (begins,)):
            monkeypatch.setattr(where, begin)
        takes = "[TEXT …]" if name == "fill_mask" else ""
        each_time = cycle(NAMES)
        for flag in list(text_flags()):
            for kind in NAMES if TIMES else list(islice(each_time, AT_ONCE)):
                put_odd_files()
                shutil.rmtree("run", ignore_errors=True)
                kept = [each for each in given if not each.startswith(f"--{flag}=")]
                case = f"{name} --{flag}={kind}"
                with ending(case):
                    try:
                        given_name = f"--{flag}={NAMES[kind]}"
                        status, said = outcome(module.main, [*kept, given_name], takes)
                    except Exception as error:
                        raise AssertionError(case) from error
                assert status in (2, 0, "begun"), f"{case}: {said}"
                if status == 2:
                    lines = [line for line in said.splitlines() if line.startswith("experiments.")]
                    assert len(lines) == 1 and "Traceback" not in said, f"{case}: {said}"
                if status != "begun" and kind in ("zeros", "random"):
                    assert f"--{flag}={NAMES[kind]}, a device that never ends" in said, case


def test_a_name_of_300_letters_is_one_line_in_every_place(tmp_path):
    long, there = "x" * 300, tmp_path / "text.txt"
    there.write_text("One. Two.\n")
    cases = {
        "learn_vocab": [[f"--input={long}"], [f"--input={there}", f"--output={long}"]],
        "predict": [[f"--checkpoint={long}"], ["--checkpoint=m", f"--output={long}"]],
        "convert": [[f"--from={long}", "--to=a"]],
    }
    for command, lines in cases.items():
        for done in run_each(command, lines, tmp_path):
            assert done.status == 2 and done.errors.count("\n") == 1, done
    assert list(tmp_path.iterdir()) == [there]


def test_a_pipe_is_read_where_somebody_writes_and_said_to_be_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    text = r"printf 'a\tb\t1\nc\td\t2\n'"
    for shell, waits in ((f"{text} > pipe & {READ} --pairs=pipe; wait", True),
                         (f"{text} | {READ} --pairs=/dev/stdin", False)):  # fmt: skip
        done = subprocess.run(
            ["bash", "-c", shell, "bash", sys.executable, READER],
            cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )  # fmt: skip
        assert done.stdout == "2\n", done
        assert (
            "--pairs=pipe is a pipe: waiting for something to write to it" in done.stderr
        ) == waits


READ = '"$1" -W ignore -c "$2"'
READER = """
from absl import flags
from bert_jax.analysis.similarity import read_scored_pairs
from bert_jax.cli import command
file = flags.DEFINE_string("pairs", "", "")
command.run(lambda: print(len(read_scored_pairs(file.value).scores)))
"""


@pytest.mark.parametrize("name", ["x" * 300, f"a/{'é' * 128}/b", "a\0b", "a\ud800"])
def test_the_library_says_so_too(name):
    with pytest.raises(UserError, match=r"got source=.*, with .*; expected a path"):
        path_like("source", name)
    assert path_like("source", "x" * 255) == "x" * 255
