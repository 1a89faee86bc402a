"""Files and folders that a command writes where its user says: never over another unasked."""

from __future__ import annotations

import os
from pathlib import Path

from absl import flags

from bert_jax.errors import UserError

flags.disclaim_key_flags()  # the flag is that of the module that asks for it


def define_overwrite() -> None:
    """Define the flag that lets a command replace what is there."""
    flags.DEFINE_bool("overwrite", False, "Replace what is there.")


def overwrites() -> bool:
    """What that flag says."""
    return bool(flags.FLAGS["overwrite"].value)


def check_new(argument: str, *paths: str | os.PathLike[str]) -> None:
    """Make sure, before any work, that files to be written are not there; or may be replaced.

    Args:
        argument: by which the user names the first of them.
        paths: all the files that the command will write there.

    Raises:
        UserError: one exists, and `--overwrite` was not given.
    """
    for path in paths:
        if Path(path).is_file() and not overwrites():
            beside = "" if path == paths[0] else f" beside {os.fspath(paths[0])}"
            raise UserError(
                f"got {argument}={os.fspath(paths[0])}, where {Path(path).name} is already"
                f"{beside}; expected a new name (or --overwrite, which replaces it)"
            )
