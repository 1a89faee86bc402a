"""A console that prints text as it is: a piece such as [nH], a path, `:o:` are no markup."""

from typing import Any

from rich.console import Console


def plain_console(**options: Any) -> Console:
    """Make a console of `rich` to which brackets and colons in a text are text."""
    return Console(markup=False, emoji=False, **options)
