"""A working directory holds all one run makes, and the settings by which it may be continued."""

from __future__ import annotations

import json
import os
import shutil
import types
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bert_jax.arguments import path_like
from bert_jax.errors import UserError
from bert_jax.file_digests import DamagedFileError, read_sealed, write_sealed
from bert_jax.lock import alone_in
from bert_jax.training.processes import first_before_others, is_first
from bert_jax.whole_file import write_json

CONTENTS = "contents.json"
"""Hashes of what a run is made from: its settings name only files, and files change."""

_REMEDY = "take a copy, or another workdir"


@contextmanager
def own_workdir(path: str | os.PathLike[str]) -> Iterator[None]:
    """Keep every other run out of `path` until the block ends; make it where it is absent.

    Of several processes the first one keeps it for all.

    Raises:
        UserError: another run is at work there, or it cannot be written.
    """
    with ExitStack() as stack:
        with first_before_others("working directory"):
            if is_first():
                stack.enter_context(alone_in(path, f"workdir={os.fspath(path)}"))
        yield


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
            directory cannot be written, or is a URL.
        DamagedFileError: its `config.json` is damaged or gone.

    What else is at work there is kept out by `own_workdir`, or by `command.run`.
    """
    workdir = Path(path_like("workdir", path))
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
            write_json(saved, settings)
        except OSError as error:
            raise UserError(
                f"got workdir={path}, which cannot be written ({error.strerror}); expected a"
                " directory, or a place to make one"
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
                " (to start anew)"
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
                " `workdir` (to start anew)"
            )
