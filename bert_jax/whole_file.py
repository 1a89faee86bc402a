"""Files and folders that are there whole or not at all: the one place that writes and renames.

What is being written lies beside its place under a hidden name of its own, `.NAME.partial-OWNER-…`
(`bert_jax.owner`), and is renamed when it is whole; where something goes wrong it is taken away.
What a killed process left goes when the same file or folder is written again: at once where the
process is known to have gone; after a day without a change where it was on another machine, before
a boot, or in another container, and nobody can tell.

What stands in its place is on the disk: files are synced before they are renamed, and the folder
afterwards, so that where the power fails the old or the new is found, and never half of either.
"""

from __future__ import annotations

import errno
import glob
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bert_jax.arguments import is_url
from bert_jax.bucket import Prefix
from bert_jax.disk import disk_error, on_disk, sync
from bert_jax.errors import UserError
from bert_jax.mirror import Mirror, names_at, work_place
from bert_jax.owner import Owner

_Path = str | os.PathLike[str]
_DAY = 24 * 3600.0


@contextmanager
def whole_file(path: _Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; rename it into place when the block ends well.

    What is made for a bucket (`gs://…`, `s3://…`) is sent then.

    Raises:
        UserError: the folder is missing or cannot be written, the disk is full, or `path` is a
            folder or a device; nothing half-written stays behind.
    """
    if is_url(path):
        if set(names_at(path)) - {""}:
            raise UserError(
                f"got {os.fspath(path)}, which cannot be written (it is a folder); expected a file"
            )
        with _to_be_sent(path) as (folder, prefix):
            partial = folder / prefix.url.rpartition("/")[2]
            yield partial
            prefix.put(partial, "")
        return
    path = Path(path)
    if not path.name:  # the folder one is in, or the topmost
        raise UserError(
            f"got {str(path)!r}, which cannot be written (it is a folder); expected a file"
        )
    # The suffix stays: NumPy appends its own to a name that lacks it.
    partial = path.with_name(f"{_prefix(path.stem)}{_writer()}{path.suffix}")
    try:
        _tidy(path.parent, _prefix(path.stem), path.suffix)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if path.exists() and not path.is_file():  # /dev/null would be replaced
            raise OSError(errno.EINVAL, "it is a device or a pipe")
        yield partial
        sync(partial)
        os.replace(partial, path)
        sync(path.parent, deep=False)
    except OSError as error:
        if error.filename not in (None, str(partial)) or isinstance(error, ConnectionError):
            raise  # of something else that the block does
        raise UserError(
            f"got {str(path)!r}, which cannot be written ({error.strerror or error}); expected a"
            " file in a folder that exists and can be written"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink()


@contextmanager
def whole_folder(
    path: _Path, *, overwrite: bool = False, keep_other: bool = False, alone: bool = False
) -> Iterator[Path]:
    """Give a new folder beside `path` to fill; rename it into place when the block ends well.

    What is made for a bucket (`gs://…`, `s3://…`) is sent then, and is there when all of it is.

    Args:
        path: absent or empty, unless one of these:
        overwrite: what is there is replaced.
        keep_other: what is there when the block ends stays, as where several processes make the
            same folder and the first to finish has made it.
        alone: nobody else writes it now (`bert_jax.lock`): all that lies half-written is left over.

    Raises:
        UserError: `path` holds something, is no folder, or cannot be made; nothing half-written
            stays behind.
    """
    if is_url(path):
        with _to_be_sent(path) as (folder, prefix):
            there = names_at(path)
            if "" in there:
                raise UserError(f"got {path}, which is a file; expected a directory to write")
            if there and not overwrite:
                raise UserError(
                    f"got {path}, which is not empty; expected a directory that is absent or empty"
                )
            partial = folder / prefix.url.rpartition("/")[2]
            partial.mkdir()
            yield partial
            Mirror(path, whole=True, folder=partial).replace()
        return
    path = Path(path)
    if path.exists() and not path.is_dir():
        what = "a file" if path.is_file() else "a device or a pipe"
        raise UserError(f"got {path}, which is {what}; expected a directory to write")
    if not (overwrite or keep_other) and path.is_dir() and any(path.iterdir()):
        raise UserError(
            f"got {path}, which is not empty; expected a directory that is absent or empty"
        )
    with partial_folder(path, alone=alone) as partial:
        with on_disk(path):
            yield partial
        replaced = partial.with_name(f"{partial.name}-replaced")
        try:
            if overwrite and path.exists():
                path.rename(replaced)
            sync(partial)
            partial.rename(path)
            sync(path.parent, deep=False)
        except OSError as error:
            if keep_other and path.is_dir():
                return
            if (refused := disk_error(path, error)) is not None:
                raise refused from error
            raise UserError(
                f"got {path}, where the finished directory cannot be put ({error.strerror});"
                " expected a directory that is absent or empty"
            ) from error
        finally:
            shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def _to_be_sent(url: _Path) -> Iterator[tuple[Path, Prefix]]:
    """A folder of this machine for what is made for a bucket, which is removed afterwards."""
    prefix = Prefix(url)
    with partial_folder(work_place(prefix)) as folder:
        yield folder, prefix


@contextmanager
def partial_folder(beside: _Path, *, alone: bool = False) -> Iterator[Path]:
    """Give a new empty folder beside a path, to work in; remove it afterwards.

    Args:
        beside: the path.
        alone: as for `whole_folder`.

    Raises:
        UserError: it cannot be made.
    """
    beside = Path(beside)
    if not beside.name:
        raise UserError(
            f"got {beside}, the folder one is in or the topmost, which cannot be replaced; expected"
            " a directory with a name"
        )
    prefix = _prefix(beside.name)
    partial = beside.with_name(f"{prefix}{_writer()}")
    try:
        beside.parent.mkdir(parents=True, exist_ok=True)
        _tidy(beside.parent, prefix, alone=alone)
        partial.mkdir()
    except OSError as error:
        raise UserError(
            f"got {beside}, which cannot be written ({error.strerror}); expected a directory, or a"
            " path where one can be made"
        ) from error
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(path: _Path, content: Mapping[str, Any]) -> None:
    """Write `content` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_json_lines(path: _Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line, whole or not at all; `rows` may be a generator."""
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json_line(row) for row in rows)


def json_line(row: Mapping[str, Any]) -> str:
    """A JSON object and the end of its line; lone surrogates, which UTF-8 has not, stay escaped."""
    text = json.dumps(row, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode() + "\n"


def write_text(path: _Path, text: str) -> None:
    """Write text as UTF-8, line ends as they are, whole or not at all.

    What is no character, such as bytes of a file's name, is escaped.
    """
    with whole_file(path) as partial:
        partial.write_bytes(text.encode("utf-8", "backslashreplace"))


def _prefix(name: str) -> str:
    return f".{name}.partial-"


def _writer() -> str:
    """Who writes: the process, and a number of its own for each time."""
    return f"{Owner.here()}-{secrets.token_hex(4)}"


def _tidy(folder: Path, prefix: str, suffix: str = "", *, alone: bool = False) -> None:
    """Take away what processes that were killed left of one file or folder."""
    for left in folder.glob(f"{glob.escape(prefix)}*{glob.escape(suffix)}"):
        writer = left.name.removeprefix(prefix).removesuffix(suffix).removesuffix("-replaced")
        owner = Owner.parse(writer.rpartition("-")[0])
        gone = alone or (None if owner is None else owner.has_gone())
        with suppress(OSError):  # of another user, or another process was faster
            if gone or (gone is None and _rested(left) > _DAY):
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def _rested(path: Path) -> float:
    """Seconds since the newest change of a file, or of anything in a folder."""
    changes = [each.lstat().st_mtime for each in (path, *path.rglob("*"))]
    return time.time() - max(changes)
