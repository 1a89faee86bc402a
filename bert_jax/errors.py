"""The one exception that means "the user can mend this": it is shown as a line, not a traceback."""

from pathlib import Path


class UserError(ValueError):
    """A mistake in what the user gave: a missing file, a wrong shape, an unknown name.

    The message is one line that says what was got, what was expected and how to mend it.
    Experiments print it and exit with status 2; any other exception is a bug and keeps its
    traceback.

    Attributes:
        passing: what was given is right, a machine failed, and the same command may
            well succeed later. Experiments then exit with status 1.
    """

    passing = False


class DiskError(UserError):
    """A disk that is full, read-only or gone while a run writes to it; says what could not be."""

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


class LostProcessError(UserError):
    """Another process of the run has gone, or never came."""

    passing = True


class PlaceAwayError(UserError):
    """A bucket that has not answered for long."""

    passing = True


class DamagedFileError(UserError):
    """A file does not hold what was written; says which, and the way out.

    Args:
        path: the file.
        reason: what is wrong with it.
        remedy: what to do, such as "remove it to …".
    """

    def __init__(self, path: str | Path, reason: str, remedy: str):
        super().__init__(
            f"got {path}, a damaged file ({reason}); expected it as it was written: {remedy}"
        )
