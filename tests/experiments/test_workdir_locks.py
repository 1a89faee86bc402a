"""A second run of any command in a workdir, or on a corpus that is being built, is one line."""

import os
import re
import subprocess
import sys

import pytest

from bert_jax.lock import alone_in, alone_making
from tests.experiments.runs import REPOSITORY


def test_every_command_with_a_workdir_keeps_others_out():
    for path in [
        *(REPOSITORY / "experiments").rglob("*.py"),
        *(REPOSITORY / "launch").glob("*.py"),
    ]:
        text = path.read_text()
        if 'flags.DEFINE_string("workdir"' in text and path.stem != "pretrain":
            assert re.search(r"with (own_workdir|own_results|alone_in)\(", text), path


@pytest.mark.parametrize(
    "command",
    [
        "pretrain",
        "finetune --task=classification --checkpoint=x",
        "inspect_embeddings --checkpoint=x",
    ],
)
def test_a_second_run_is_refused(command, tmp_path):
    with alone_in(tmp_path / "run", "workdir=run"):
        refused = second(tmp_path, *command.split(), "--workdir=run")
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    assert "got --workdir=run, where process" in refused


def test_a_corpus_is_built_once_at_a_time(tmp_path):
    (tmp_path / "text.txt").write_text("the cats like the dogs. they run.\n" * 9)
    build = ("build_corpus", "--input=text.txt", "--data_dir=corpus", "--vocab_size=40")
    with alone_making(tmp_path / "corpus", "data_dir=corpus"):
        refused = second(tmp_path, *build)
        assert {path.name for path in tmp_path.iterdir()} == {"text.txt", ".corpus.lock"}
    assert "got --data_dir=corpus, where process" in refused


def second(folder, name, *arguments):
    """What a run that is refused prints."""
    done = subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", *arguments], cwd=folder,
        capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done
    assert f"process {os.getpid()} of host" in done.stderr
    assert done.stderr.endswith(
        "is running; expected one at a time: wait until it ends, or choose another place\n"
    )
    return done.stderr
