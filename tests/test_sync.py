"""What is called saved is on the disk: the files, then their name; only then the old one goes."""

import dataclasses
import os
import shutil
from pathlib import Path

import jax.numpy as jnp
import pytest

from bert_jax.checkpoints import Checkpoints
from bert_jax.training.metrics import JsonLines
from bert_jax.training.state import TrainState
from bert_jax.whole_file import whole_file, whole_folder, write_text


class Disk:
    """Watches the calls of this process: at every rename, is what is renamed synced?

    Attributes:
        events: "rename NAME", "sync NAME" of a folder that was renamed into, "delete NAME".
        torn: what a power failure after a rename would have left out.
    """

    def __init__(self, monkeypatch, root):
        self.root, self.events, self.torn = str(root), [], []
        self._synced = {}
        for name in ("fsync", "rename", "replace"):
            monkeypatch.setattr(os, name, getattr(self, name)(getattr(os, name)))
        monkeypatch.setattr(shutil, "rmtree", self.rmtree(shutil.rmtree))

    def fsync(self, real):
        def fsync(descriptor):
            real(descriptor)
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            self._synced[path] = self._state(path)
            if self.events and os.path.isdir(path):
                self.events.append(f"sync {os.path.relpath(path, self.root)}")

        return fsync

    def rename(self, real):
        def rename(source, target, **options):
            if str(source).startswith(self.root):
                for path in [Path(source), *Path(source).rglob("*")]:
                    if self._synced.get(str(path)) != self._state(path):
                        self.torn.append(str(path))
                self.events.append(f"rename {os.path.relpath(target, self.root)}")
            real(source, target, **options)

        return rename

    replace = rename

    def rmtree(self, real):
        def rmtree(path, *arguments, **options):
            if Path(path).exists():
                self.events.append(f"delete {os.path.relpath(path, self.root)}")
            real(path, *arguments, **options)

        return rmtree

    @staticmethod
    def _state(path):
        found = os.stat(path)
        return found.st_ino, found.st_size, found.st_mtime_ns


@pytest.fixture
def disk(monkeypatch, tmp_path):
    return Disk(monkeypatch, tmp_path)


def test_a_file(disk, tmp_path):
    write_text(tmp_path / "a.txt", "text")
    assert disk.events == ["rename a.txt", "sync ."] and disk.torn == []


def test_a_file_that_its_block_leaves_open(disk, tmp_path):
    """What is in the buffers of an open file is not there; the watch would see it."""
    with whole_file(tmp_path / "a.txt") as partial:
        file = partial.open("w")
        file.write("text")
        file.flush()
        partial.touch()
    file.close()
    assert disk.torn == []


def test_a_folder(disk, tmp_path):
    with whole_folder(tmp_path / "new") as partial:
        (partial / "deep" / "er").mkdir(parents=True)
        (partial / "deep" / "er" / "file").write_text("text")
        (partial / "empty").touch()
        (partial / "link").symlink_to("empty")
        disk._synced[str(partial / "link")] = disk._state(partial / "link")  # its name is enough
    renamed = disk.events.index("rename new")
    assert "sync ." in disk.events[renamed:] and disk.torn == []


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_is_on_the_disk_before_the_one_before_it_goes(disk, tmp_path):
    drawn = {"table": jnp.ones((8, 4))}
    bert = {"embeddings": drawn, "encoder": drawn}
    state = TrainState(jnp.int32(0), {"bert": bert}, {"mu": drawn})
    checkpoints = Checkpoints(
        tmp_path, keep=1, config={"a": 1}, vocabulary={"pieces": ["a"], "hash": "x"}
    )
    for step in (1, 2, 3):
        checkpoints.save(dataclasses.replace(state, step=jnp.int32(step)))
        checkpoints.wait()
        assert disk.torn == []
        renamed = disk.events.index(f"rename {step}")
        assert "sync ." in disk.events[renamed:]
    checkpoints.close()
    for step in (1, 2):
        gone = next(i for i, event in enumerate(disk.events) if event == f"delete {step}")
        renamed = disk.events.index(f"rename {step + 1}")
        assert renamed < disk.events.index("sync .", renamed) < gone


def test_metrics_outlive_what_is_saved_after_them(disk, tmp_path):
    lines = JsonLines(tmp_path)
    lines.on_train_begin(0)
    lines.on_log(1, {"loss": 2.5})
    lines.on_evaluate(1, {"heldout_mlm_loss": 2.5})
    lines.on_save(1)
    for name in ("metrics.jsonl", "heldout.jsonl"):
        assert disk._synced[str(tmp_path / name)] == disk._state(tmp_path / name)
    lines.on_train_end()
