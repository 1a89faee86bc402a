"""The one exception that means "the user can mend this": it is shown as a line, not a traceback."""


class UserError(ValueError):
    """A mistake in what the user gave: a missing file, a wrong shape, an unknown name.

    The message is one line that says what was got, what was expected and how to mend it.
    Experiments print it and exit with status 2; any other exception is a bug and keeps its
    traceback.
    """


class DiskError(UserError):
    """A disk that is full, read-only or gone while a run writes to it; says what could not be."""
