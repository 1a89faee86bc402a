"""Files and folders that a command writes where its user says: never over another unasked."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from absl import flags

from bert_jax.arguments import is_url
from bert_jax.errors import UserError
from bert_jax.mirror import check_writable, names_at
from bert_jax.whole_file import whole_file

flags.disclaim_key_flags()  # the flag is that of the module that asks for it


def define_overwrite() -> None:
    """Define the flag that lets a command replace what is there."""
    flags.DEFINE_bool("overwrite", False, "Replace output files that already exist.")


def overwrites() -> bool:
    """What that flag says."""
    return bool(flags.FLAGS["overwrite"].value)


def check_new(argument: str, *paths: str | os.PathLike[str], reads: str = "-") -> None:
    """Make sure, before any work, that files to be written are not there; or may be replaced.

    Of a bucket, also that it is there and lets them be written.

    Args:
        argument: by which the user names the first of them.
        paths: all the files that the command will write there.
        reads: the file that the command reads meanwhile; - for standard input.

    Raises:
        UserError: one exists, and `--overwrite` was not given; or it is the file that is read,
            which no flag lets a command replace.
    """
    if reads != "-" and any(_is_same(reads, path) for path in paths):
        raise UserError(
            f"got {argument}={os.fspath(paths[0])}, which is what is read; expected another name"
        )
    for path in paths:
        is_there = "" in names_at(path) if is_url(path) else Path(path).is_file()
        if is_there and not overwrites():
            beside = "" if path == paths[0] else f" next to {os.fspath(paths[0])}"
            raise UserError(
                f"got {argument}={os.fspath(paths[0])}, where {Path(path).name} is already"
                f"{beside}; expected a new name (or --overwrite, which replaces it)"
            )
    for path in paths[:1]:
        check_writable(path)


def _is_same(one: str, other: str | os.PathLike[str]) -> bool:
    with suppress(OSError):  # one is not there, or is a URL
        return os.path.samefile(one, other)
    return one == os.fspath(other)


@contextmanager
def output_to(path: str) -> Iterator[IO[str]]:
    """Standard output (-) as it comes, or a file that is there once it is whole."""
    if path == "-":
        yield sys.stdout
        return
    with whole_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        yield file
