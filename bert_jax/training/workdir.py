"""A working directory holds all one run makes, and the settings by which it may be continued.

It may be a folder of a bucket: then the run works in a copy on this machine's disk, which is sent
at every checkpoint and at the end (`mirror.py`).
"""

from __future__ import annotations

import json
import os
import shutil
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bert_jax.arguments import is_url, path_like
from bert_jax.bucket import Prefix
from bert_jax.bucket_lock import alone_in_bucket
from bert_jax.errors import DamagedFileError, UserError
from bert_jax.file_digests import read_sealed, write_sealed
from bert_jax.first_process import first_before_others, is_first
from bert_jax.lock import alone_in
from bert_jax.mirror import Mirror, at_hand, place_of_copy, told_by_url

CONTENTS = "contents.json"
"""Hashes of what a run is made from: its settings name only files, and files change."""

_REMEDY = "take a copy, or another workdir"


@dataclass(frozen=True)
class Workdir:
    """A working directory on a disk: `Workdir(Path("runs/mine"))`.

    Attributes:
        folder: where it is on this machine.
        url: where it is in a bucket; empty where it is not.
        publish: returns when the bucket holds what the folder does; for process 0.
        refresh: brings the folder up to date with the bucket; for the other processes, where each
            may have a disk of its own.
    """

    folder: Path
    url: str = ""
    publish: Callable[[], None] = lambda: None
    refresh: Callable[[], None] = lambda: None


@contextmanager
def own_workdir(path: str | os.PathLike[str]) -> Iterator[Workdir]:
    """Keep every other run out of `path` until the block ends; make it where it is absent.

    Of several processes the first one keeps it for all. A bucket's is sent when the block ends
    well: what a user's mistake left goes no further.

    Raises:
        UserError: another run is at work there, it cannot be read or written, or it is no name.
    """
    path_like("workdir", path)
    said = f"workdir={os.fspath(path)}"
    with ExitStack() as stack:
        workdir = Workdir(Path(path))
        with first_before_others("working directory"):
            if is_url(path):
                workdir = _of_bucket(path, said, stack)
            elif is_first():
                stack.enter_context(alone_in(path, said))
        with told_by_url():
            yield workdir
        workdir.publish()


@contextmanager
def own_results(path: str | os.PathLike[str]) -> Iterator[Path]:
    """`own_workdir` for what is found out about a checkpoint: its folder, which is none of a run.

    Raises:
        UserError: as for `own_workdir`; or it holds a training run.
    """
    with own_workdir(path) as place:
        if (place.folder / "checkpoints").exists():
            raise UserError(
                f"got workdir={os.fspath(path)}, which holds a training run; expected a directory"
                " of its own"
            )
        yield place.folder


def _of_bucket(path: str | os.PathLike[str], said: str, stack: ExitStack) -> Workdir:
    """The copy in which process 0 writes; for another process, one to read what that one sends."""
    prefix = Prefix(path)
    if not is_first():
        copy = place_of_copy(prefix)
        return Workdir(copy, prefix.url, refresh=lambda: _refresh(prefix))
    lock = stack.enter_context(alone_in_bucket(prefix, said))
    mirror = Mirror(prefix.url)

    def publish() -> None:
        lock.check()
        mirror.publish()

    return Workdir(mirror.fetch(), mirror.url, publish)


def _refresh(prefix: Prefix) -> None:
    at_hand(prefix.url, leave=("checkpoints", "tensorboard"))


@contextmanager
def prepared_workdir(
    path: str | Path,
    settings: Mapping[str, Any],
    may_change: Collection[str],
    keep: Collection[str] = (),
    unwritten: Mapping[str, Any] = types.MappingProxyType({}),
) -> Iterator[Path]:
    """Make `path`, or check that what is there was made with the same settings.

    To be left when all is ready for the run itself. A user's mistake that shows before that takes
    away what was made since, so that the mended command finds no trace of it.

    Args:
        path: the directory.
        settings: the resolved settings; written to `path/config.json` the first time.
        may_change: names of settings that do not change what is computed.
        keep: names of files that are left even so, since making them took long.
        unwritten: what settings were in runs older than they are.

    Raises:
        UserError: a setting differs from the run that is there; nothing is changed. Or the
            directory cannot be written.
        DamagedFileError: its `config.json` is damaged or gone.

    What else is at work there is kept out by `own_workdir`.
    """
    workdir = Path(path)
    saved = workdir / "config.json"
    # As they will be read back: tuples become lists.
    settings, unwritten = (json.loads(json.dumps(dict(each))) for each in (settings, unwritten))
    if saved.exists():
        _check_same(path, settings, {**unwritten, **read_settings(workdir)}, may_change)
        yield workdir
        return
    if (workdir / CONTENTS).exists() or (workdir / "checkpoints").exists():
        raise DamagedFileError(saved, "it is not there, but what a run made is", _REMEDY)
    existed = workdir.exists()
    before = set(workdir.iterdir()) if workdir.is_dir() else set()
    try:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            write_sealed(saved, settings)
        except OSError as error:
            raise UserError(
                f"got workdir={path}, which cannot be written ({error.strerror}); expected a"
                " directory, or a path where one can be made"
            ) from error
        yield workdir
    except UserError:
        for made in set(workdir.iterdir()) - before if workdir.is_dir() else ():
            if made.name not in keep:
                shutil.rmtree(made) if made.is_dir() else made.unlink()
        if workdir.is_dir() and not existed and not any(workdir.iterdir()):
            workdir.rmdir()
        raise


def read_settings(workdir: Path) -> dict[str, Any]:
    """What the run in `workdir` was started with: its `config.json`.

    Raises:
        DamagedFileError: it cannot be read.
    """
    return read_sealed(workdir / "config.json", _REMEDY)


def check_contents(workdir: Path, contents: Mapping[str, Mapping[str, int | str]]) -> None:
    """Write down the first time what a run is made from; afterwards refuse anything else.

    Args:
        workdir: of the run.
        contents: a hash, or a number, of each part of what each setting names, such as
            `{"train": {"examples": 96, "label": "9d31…"}}`.

    Raises:
        UserError: something is not what it was.
        DamagedFileError: what was written down cannot be trusted.
    """
    file = workdir / CONTENTS
    if not file.is_file():
        write_sealed(file, contents)
        return
    before = read_sealed(file, _REMEDY)
    for name in sorted(before.keys() | contents.keys()):
        then, now = before.get(name, {}), contents.get(name, {})
        parts = sorted(now.keys() | then.keys())
        changed = [part for part in parts if now.get(part) != then.get(part)]
        numbers = [part for part in changed if isinstance(now.get(part), int)]
        if changed:
            said = [f"{part} ({now.get(part)}, once {then.get(part)})" for part in numbers]
            raise UserError(
                f"got `{name}`, whose {', '.join(said or changed)} changed since the run in"
                f" {workdir} was started; expected the same (to continue it) or another `workdir`"
                " (to start over)"
            )


def _check_same(
    path: str | Path,
    settings: Mapping[str, Any],
    before: Mapping[str, Any],
    may_change: Collection[str],
) -> None:
    for name in sorted(settings.keys() | before.keys()):
        if name not in may_change and settings.get(name) != before.get(name):
            raise UserError(
                f"got {name}={settings.get(name)}, but the run in {path} was started with"
                f" {name}={before.get(name)}; expected the same (to continue it) or another"
                " `workdir` (to start over)"
            )
