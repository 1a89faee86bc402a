"""What the wheel puts into a fresh environment, and the command that comes with it."""

import os
import shutil
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path

import pytest

from tests.experiments.runs import REPOSITORY

_FOLDERS = ("bert_jax", "experiments", "launch")
_SOURCES = (*_FOLDERS, "pyproject.toml", "setup.cfg", "README.md", "LICENSE")


def pip(*arguments):
    """Run pip without a question to any registry."""
    subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments],
        check=True,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    source = tmp_path_factory.mktemp("source")
    for name in _SOURCES:  # a copy: building leaves things behind
        if (REPOSITORY / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(REPOSITORY / name, source / name, ignore=ignored)
        else:
            shutil.copy(REPOSITORY / name, source)
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder), str(source))
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="module")
def bin_folder(wheel, tmp_path_factory):
    """The commands of a fresh environment that borrows its dependencies from this one."""
    venv = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = venv / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.check_output([python, "-c", ask], text=True).strip())
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip(
        "--python",
        str(python),
        "install",
        "--no-deps",
        "--no-index",
        "--force-reinstall",
        str(wheel),
    )
    assert sorted(path.name for path in site.iterdir() if "dist-info" not in path.name) == [
        "bert_jax", "borrowed.pth"
    ]  # fmt: skip
    return venv / "bin"


def run(bin_folder, *arguments, cwd):
    """Run `bert-jax` outside the checkout."""
    env = {**os.environ, "JAX_NUM_CPU_DEVICES": "1"}
    env.pop("PYTHONPATH", None)
    return subprocess.run(
        [bin_folder / "bert-jax", *arguments],
        cwd=cwd, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_wheel_holds_every_file_of_the_checkout(wheel):
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if "dist-info" not in name}
    tracked = {
        path.relative_to(REPOSITORY).as_posix()
        for name in _FOLDERS
        for path in (REPOSITORY / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == {
        name if name.startswith("bert_jax/") else f"bert_jax/{name}" for name in tracked
    }


def test_the_command_lists_the_jobs_at_once(bin_folder, tmp_path):
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = run(bin_folder, cwd=tmp_path)
        seconds.append(time.perf_counter() - start)
    assert done.returncode == 0 and done.stderr == ""
    jobs = dict(line.split(maxsplit=1) for line in done.stdout.splitlines()[2:])
    assert {"pretrain", "finetune", "learn_vocab", "compile_only", "benchmarks.loader"} <= set(jobs)
    assert jobs["pretrain"].startswith("Pretrain a BERT from raw text")
    assert min(seconds) < 0.5


def test_an_unknown_job_is_one_line(bin_folder, tmp_path):
    done = run(bin_folder, "pretrian", cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    line = "bert-jax: got job 'pretrian'; expected one that `bert-jax` lists, such as pretrain\n"
    assert done.stderr == line


def test_a_job_runs_from_the_wheel(bin_folder, tmp_path):
    done = run(bin_folder, "pretrain", "--help", cwd=tmp_path)
    assert done.returncode == 0 and "--workdir=" in done.stdout
    done = run(bin_folder, "pretrain", "--steps=x", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("experiments.pretrain: ")
    for number in range(12):
        text = f"Document {number} begins here. It has a second sentence.\n\nAnd a third one.\n"
        (tmp_path / f"{number}.txt").write_text(text)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "it", "has", "and", ".", "a", "third"]
    (tmp_path / "vocab").write_text("".join(f"{piece}\n" for piece in pieces))
    done = run(
        bin_folder, "pretrain", "--workdir=run", "--corpus=*.txt", "--vocab=vocab",
        "--heldout_fraction=0.3", "--steps=2", "--batch_size=2", "--phases=32:1.0", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "result.json").is_file()
