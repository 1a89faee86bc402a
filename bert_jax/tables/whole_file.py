"""A file that is there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bert_jax.errors import UserError


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; rename it into place when the block ends well.

    Raises:
        UserError: the folder is missing or cannot be written, or `path` is a folder.
    """
    path = Path(path)
    # The suffix stays: NumPy appends its own to a name that lacks it.
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise UserError(
            f"got {str(path)!r}, which cannot be written ({error.strerror}); expected a file in a"
            " folder that exists and can be written"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink()
