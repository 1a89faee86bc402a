"""What a run does where the disk is full, gone or read-only: one line, and later the rest."""

import shutil
import subprocess
import sys

import pytest

from bert_jax.checkpoints import damaged_checkpoints
from tests.experiments.finetuning import write_checkpoint, write_texts
from tests.faults.runs import (
    command,
    curve,
    finish,
    start,
    wait_for_step,
    write_model,
    write_text,
)  # fmt: skip

SMALL, LARGE = "1200k", "40m"
OPTIONS = {"steps": 60, "checkpoint_every": 10, "eval_every": 30, "keep": 9}


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 1,200 kB, and what makes it larger or read-only."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(*options):
        subprocess.run(["mount", *options, str(place)], check=True, capture_output=True)

    try:
        mount("-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no disk can be mounted here: {error}")
    yield place, lambda options: mount("-o", f"remount,{options}")
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A text, a model, and the corpus and the curve of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("disk")
    (folder / "text").mkdir()
    write_model(folder)
    write_text(folder / "text")
    finish(
        start(command(folder / "run", f"{folder}/text/*.txt", f"{folder}/model.json", **OPTIONS))
    )
    return folder


def line(folder, workdir):
    return command(workdir, str(folder / "run" / "corpus"), f"{folder}/model.json", **OPTIONS)


def refused(process, reason, status=2):
    """The one line that a run ends with; nothing else but progress is printed."""
    output = finish(process, status)
    *before, last = output.splitlines()
    assert "which cannot be written (" in last and reason in last and "; expected " in last, output
    assert len(before) < 30 and "Traceback" not in output and "Error" not in output, output
    return last


def test_full_and_then_with_room_the_same(folder, small_disk):
    disk, remount = small_disk
    run = disk / "run"
    said = refused(start(line(folder, run)), "No space left on device: ")
    assert " are free, about " in said and " more are needed)" in said
    newest = max(int(path.name) for path in (run / "checkpoints").iterdir())
    assert said.endswith(f"the same command again: it continues from {run}/checkpoints/{newest}")
    assert damaged_checkpoints(run / "checkpoints") == {}
    remount(f"size={LARGE}")
    assert f"continuing {run} from step {newest}" in finish(start(line(folder, run)))
    assert curve(run) == curve(folder / "run")
    assert (run / "heldout.jsonl").read_text() == (folder / "run" / "heldout.jsonl").read_text()


def test_gone(folder, tmp_path):
    run = tmp_path / "run"
    process = start(line(folder, run))
    wait_for_step(process, run, 12)
    shutil.rmtree(run, ignore_errors=True)
    refused(process, " has gone)", status=1)


def test_read_only(folder, small_disk):
    disk, remount = small_disk
    remount("ro")
    refused(start(line(folder, disk / "run")), "(Read-only file system)")


@pytest.mark.parametrize("room", [0, 40_000])
@pytest.mark.parametrize("name, flag", [("build_corpus", "data_dir"), ("learn_vocab", "output")])
def test_commands_without_checkpoints(folder, small_disk, name, flag, room):
    disk, remount = small_disk
    run = [
        sys.executable, "-m", f"experiments.{name}", f"--input={folder}/text/*.txt",
        f"--{flag}={disk}/made", "--vocab_size=64", *["--workers=1"] * (name == "build_corpus"),
    ]  # fmt: skip
    (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - room))
    process = start(run)
    if room and name == "learn_vocab":  # what it writes is small
        finish(process)
        return
    assert f"{disk}/made" in refused(process, "No space left on device")
    assert [path.name for path in disk.iterdir()] == ["ballast"]
    remount(f"size={LARGE}")
    finish(start(run))


def test_finetuning(tmp_path, small_disk):
    disk, remount = small_disk
    write_checkpoint(tmp_path)
    write_texts(tmp_path)
    run = [
        sys.executable, "-m", "experiments.finetune", "--task=classification",
        f"--checkpoint={tmp_path}/model", f"--train={tmp_path}/train.tsv",
        f"--dev={tmp_path}/dev.tsv", f"--workdir={disk}/run", "--mesh=data:1",
        "--batch_size=8", "--max_length=32", "--epochs=3",
    ]  # fmt: skip
    (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - 250_000))
    refused(start(run), "No space left on device")
    remount(f"size={LARGE}")
    assert "dev accuracy" in finish(start(run))
