"""Arguments of the public functions, checked: one line where Python would say something obscure."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Iterable
from typing import Any, TypeVar, cast

from bert_jax.errors import UserError

T = TypeVar("T")


def expect(name: str, value: Any, kind: type[T] | tuple[type, ...], expected: str) -> T:
    """Give back a value of the type that an argument has.

    Args:
        name: of the argument.
        value: what was given.
        kind: the type, or several.
        expected: in words.

    Raises:
        UserError: it is of another type; a bool is no number.
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise UserError(f"got {name}={_shown(value)}; expected {expected}")
    return cast(T, value)


def path_like(name: str, value: Any, expected: str = "a path") -> str | os.PathLike[str]:
    """Give back a path or a name that is not empty.

    Raises:
        UserError: it is no path, or an empty one.
    """
    expect(name, value, (str, os.PathLike), expected)
    if not os.fspath(value):
        raise UserError(f"got {name}='', an empty name; expected {expected}")
    return cast(str, value)


def strings(name: str, value: Any, of: str = "texts") -> list[str]:
    """Give back the strings of a sequence; a string alone is one of them.

    Raises:
        UserError: it is no sequence, or one of something else.
    """
    if isinstance(value, str):
        return [value]
    found = list(expect(name, value, Iterable, f"{of}, strings in a list"))
    for number, each in enumerate(found, 1):
        if not isinstance(each, str):
            raise UserError(f"got {_shown(each)} as item {number} of {name}; expected {of}")
    return found


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """Give back a whole number of at least so much.

    Raises:
        UserError: it is none.
    """
    if not hasattr(type(value), "__index__") or isinstance(value, bool) or value < least:
        raise UserError(f"got {name}={_shown(value)}; expected a whole number of at least {least}")
    return int(value)


def known_names(given: Iterable[str], known: Collection[str], what: str) -> None:
    """Make sure that settings exist.

    Args:
        given: their names.
        known: those that there are.
        what: has them, for the error.

    Raises:
        UserError: one does not; says the nearest names.
    """
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3) or sorted(known)
            raise UserError(f"got {name!r}, which {what} lacks; expected {', '.join(near)}")


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    short = text if len(text) <= 40 else f"{text[:40]}…"
    return short if isinstance(value, str | int | float | None) else f"{short}, {_named(value)}"


def _named(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
