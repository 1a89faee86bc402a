"""The power fails: what was called saved is found on a disk that has lost all that was not synced.

A run is watched while it writes. After each of its calls there are two disks that a failure could
leave: one where nothing happened since the last sync, and one where every name is as it was last,
but what was not synced is not in the files. Each must hold all that was called saved until then.
"""

import os
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np
import pytest

from bert_jax.checkpoint_files import load_params
from bert_jax.checkpoints import Checkpoints, damaged_checkpoints, whole_steps
from bert_jax.training.metrics import drop_after, read_metrics
from bert_jax.training.pretraining import pretrain
from tests.training.test_pretraining import SETTINGS, texts

STEPS = 6
CALLS = ("fsync", "rename", "replace", "mkdir", "rmdir", "unlink", "remove")


@dataclass(frozen=True)
class Disk:
    """What a failure leaves: the content of each file, None for a folder, and the step that had
    been called saved.
    """

    files: tuple[tuple[str, bytes | None], ...]
    saved: int

    def write(self, place):
        place.mkdir()
        for name, content in self.files:
            path = place / name
            if content is None:
                path.mkdir(parents=True, exist_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)


@dataclass
class Recorder:
    """Watches the calls of this process below a folder."""

    root: Path
    saved: int = 0
    disks: dict[Disk, None] = field(default_factory=dict)

    def __post_init__(self):
        self._lock = threading.RLock()
        self._held = {}  # an open file keeps its number from being given to another
        self._content, self._names = {}, {}  # of files and of folders, by number, when last synced

    def watch(self, monkeypatch):
        for name in CALLS:
            monkeypatch.setattr(os, name, self._seen(name, getattr(os, name)))
        save, wait, asked = Checkpoints.save, Checkpoints.wait, 0

        def saving(checkpoints, state, metrics=None):
            nonlocal asked
            save(checkpoints, state, metrics)
            asked = int(state.step)

        def waited(checkpoints):
            wait(checkpoints)
            with self._lock:
                self.saved = max(self.saved, asked)

        monkeypatch.setattr(Checkpoints, "save", saving)
        monkeypatch.setattr(Checkpoints, "wait", waited)

    def _seen(self, name, real):
        def call(*arguments, **options):
            with self._lock:
                if name == "fsync":
                    self._sync(os.readlink(f"/proc/self/fd/{arguments[0]}"))
                done = real(*arguments, **options)
                self._take()
                return done

        return call

    def _sync(self, path):
        found = os.stat(path)
        if found.st_ino not in self._held and path.startswith(str(self.root)):
            self._held[found.st_ino] = os.open(path, os.O_RDONLY)
        if os.path.isdir(path):
            with os.scandir(path) as entries:
                self._names[found.st_ino] = {
                    e.name: (e.is_dir(follow_symlinks=False), e.inode()) for e in entries
                }
        else:
            self._content[found.st_ino] = Path(path).read_bytes()

    def _take(self):
        if self.root.is_dir():
            for tree in (self._synced(self.root.stat().st_ino, ""), self._named(self.root)):
                self.disks.setdefault(Disk(tuple(sorted(tree)), self.saved))

    def _synced(self, folder, path):
        for name, (is_folder, number) in self._names.get(folder, {}).items():
            yield f"{path}{name}", None if is_folder else self._content.get(number, b"")
            if is_folder:
                yield from self._synced(number, f"{path}{name}/")

    def _named(self, root):
        for path in root.rglob("*"):
            try:
                content = None if path.is_dir() else self._content.get(path.stat().st_ino, b"")
            except FileNotFoundError:  # orbax has just taken it away
                continue
            yield str(path.relative_to(root)), content

    def close(self):
        for descriptor in self._held.values():
            os.close(descriptor)


def run(workdir):
    options = SETTINGS | {"steps": STEPS, "checkpoint_every": 2, "eval_every": 2, "keep": 1}
    return pretrain(texts(), workdir, **options)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The workdir of a whole run, and what failures would have left of it."""
    workdir = tmp_path_factory.mktemp("power") / "run"
    workdir.mkdir()
    recorder = Recorder(workdir)
    with pytest.MonkeyPatch.context() as monkeypatch:
        recorder.watch(monkeypatch)
        run(workdir)
    recorder.close()
    return workdir, list(recorder.disks)


def curve(workdir):
    lines = read_metrics(workdir / "metrics.jsonl")
    return [{k: v for k, v in line.items() if k != "tokens_per_second"} for line in lines]


@pytest.mark.parametrize(
    "share", [pytest.param(1, marks=pytest.mark.slow), 16], ids=["all", "every-16th"]
)
def test_what_was_called_saved_is_there_and_whole(recorded, tmp_path, share):
    _, disks = recorded
    assert len(disks) > 50 and {disk.saved for disk in disks} == {0, 2, 4, 6}
    for number, disk in enumerate(disks[::share]):
        place = tmp_path / str(number)
        disk.write(place)
        steps = whole_steps(place / "checkpoints")
        assert max(steps, default=0) >= disk.saved
        assert damaged_checkpoints(place / "checkpoints") == {}
        if steps:
            drop_after(place / "metrics.jsonl", max(steps))  # as a run does that goes on
            found = [line["step"] for line in read_metrics(place / "metrics.jsonl")]
            assert found == list(range(1, max(steps) + 1))
        shutil.rmtree(place)


def same_after(recorded, disk, place):
    whole, _ = recorded
    disk.write(place)
    run(place)
    assert curve(place) == curve(whole)
    assert (place / "heldout.jsonl").read_bytes() == (whole / "heldout.jsonl").read_bytes()
    found, expected = (load_params(each / "checkpoints" / str(STEPS)) for each in (place, whole))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_the_rest_is_the_same(recorded, tmp_path):
    _, disks = recorded
    same_after(recorded, disks[len(disks) * 2 // 3], tmp_path / "run")


@pytest.mark.slow
def test_the_rest_is_the_same_after_any_failure(recorded, tmp_path):
    _, disks = recorded
    for number, disk in enumerate(disks):
        same_after(recorded, disk, tmp_path / str(number))
        shutil.rmtree(tmp_path / str(number))
