"""Arguments of the public functions, checked: one line where Python would say something obscure."""

from __future__ import annotations

import difflib
import numbers
import os
import re
from collections.abc import Collection, Iterable
from typing import Any, TypeVar, cast

from bert_jax.errors import UserError
from bert_jax.file_names import why_no_name

T = TypeVar("T")

MOST = 2**31 - 1
"""The largest whole number where nothing else is said: devices count in 32 bits."""

MOST_SEED = 2**32 - 1
"""The largest seed: JAX draws of the lower 32 bits alone, so that a larger one would repeat one."""

LARGEST = (2 - 2**-23) * 2.0**127
"""The largest number that what is computed with it can hold."""


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
        UserError: it is no path, an empty one, a URL that is no bucket's, or a name that no file
            can have.
    """
    expect(name, value, (str, os.PathLike), expected)
    if not os.fspath(value):
        raise UserError(f"got {name}='', an empty name; expected {expected}")
    check_place(name, value)
    if (reason := why_no_name(value)) is not None:
        raise UserError(
            f"got {name}={_shown(os.fspath(value))}, with {reason}; expected {expected}"
        )
    return cast(str, value)


def check_place(name: str, value: str | os.PathLike[str]) -> None:
    """Refuse a URL that is of no bucket; a path is never looked at.

    Raises:
        UserError: it is of another server, or names no bucket.
    """
    if not is_url(value):
        return
    scheme, _, rest = os.fspath(value).partition(":")
    expected = "expected a path, or a bucket's: gs://BUCKET/… or s3://BUCKET/…"
    if scheme not in SCHEMES:
        raise UserError(
            f"got {name}={os.fspath(value)}, which cannot be read or written here; {expected}"
        )
    if re.match(r"/{1,2}[^/]", rest) is None:
        raise UserError(f"got {name}={os.fspath(value)}, which names no bucket; {expected}")


SCHEMES = ("gs", "s3")
"""What the URLs of buckets that are read and written begin with."""


def is_url(value: str | os.PathLike[str]) -> bool:
    """Whether a path would be a URL's: `gs://b/run`, also with the slash that pathlib takes away.

    >>> is_url("gs://b/run"), is_url("s3:/b"), is_url("tfds:glue"), is_url("C:/run")
    (True, True, False, False)
    """
    return re.match(r"[A-Za-z][\w.+-]+:/", os.fspath(value)) is not None


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


def whole_number(name: str, value: Any, least: int = 1, most: int = MOST) -> int:
    """Give back a whole number from `least` to `most`.

    Raises:
        UserError: it is none.
    """
    if not hasattr(type(value), "__index__") or isinstance(value, bool) or value < least:
        raise UserError(f"got {name}={_shown(value)}; expected a whole number of at least {least}")
    if value > most:
        raise UserError(f"got {name}={_shown(value)}; expected at most {most}")
    return int(value)


def is_finite(value: Any) -> bool:
    """Whether a value is a number that is finite in float32 too; a bool is one.

    >>> is_finite(1e38), is_finite(1e39), is_finite(float("nan")), is_finite(10**400)
    (True, False, False, False)
    """
    return isinstance(value, numbers.Real) and -LARGEST <= cast(float, value) <= LARGEST


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
