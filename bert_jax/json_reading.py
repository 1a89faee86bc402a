"""JSON from files that others wrote: read, or refused in one line, whatever stands in them."""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bert_jax.errors import UserError
from bert_jax.pretrained_paths import check_fetched

Kinds = type | tuple[type, ...]
"""A type, or several, as `isinstance` takes them."""


class NotJSONError(ValueError):
    """A text that is no JSON, or JSON that cannot be read; says why in a few words.

    Attributes:
        in_line: the same with the line where it is seen, of a text that has several.
    """

    def __init__(self, error: ValueError | RecursionError):
        super().__init__(why_not_json(error))
        self.in_line = str(self)
        if isinstance(error, json.JSONDecodeError):
            self.in_line = f"line {error.lineno}: {error.msg}"


def parse_json(text: str | bytes) -> Any:
    """Read JSON; of bytes, in UTF-8 with or without its mark.

    >>> parse_json('{"pieces": ["a"]}')
    {'pieces': ['a']}

    Raises:
        NotJSONError: it is none, or nested so deeply or with so long a number that Python gives up.
    """
    try:
        if isinstance(text, bytes):
            text = text.removeprefix(codecs.BOM_UTF8).decode("utf-8")
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotJSONError(error) from None


def why_not_json(error: ValueError | RecursionError) -> str:
    """What an error of the `json` module says, in a few words."""
    if isinstance(error, RecursionError):
        return "objects or lists too deep inside each other"
    if isinstance(error, UnicodeDecodeError):
        return f"not valid UTF-8 at byte {error.start}"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    return "a number of too many digits"  # which int() refuses


def read_json(path: Path, expected: str = "JSON") -> Any:
    """Read a file of JSON.

    Args:
        path: the file.
        expected: what it should be, for the error.

    Raises:
        UserError: there is no such file, or it is no JSON.
    """
    check_fetched(path)
    try:
        return parse_json(path.read_bytes())
    except (OSError, NotJSONError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(
            f"got {path}, which cannot be read as JSON ({why}); expected {expected}"
        ) from None


def read_json_object(path: Path, expected: str = "a JSON object") -> dict[str, Any]:
    """Read a file that holds one object; see `read_json`.

    Raises:
        UserError: it holds something else.
    """
    content = read_json(path, expected)
    if not isinstance(content, dict):
        raise UserError(f"got a JSON {type(content).__name__} in {path}; expected {expected}")
    return content


def check_members(content: Any, kinds: Mapping[str, Kinds], source: Path) -> None:
    """Make sure that members of an object, where they are there and not null, have their type.

        check_members(content, {"model": dict, "model.vocab": dict}, path)

    Args:
        content: the object.
        kinds: by the names of members, with a dot before those of an object inside.
        source: the file, for the error.

    Raises:
        UserError: one has another; a number is no switch, and a switch no number.
    """
    for name, kind in kinds.items():
        found = content
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        kinds_of = kind if isinstance(kind, tuple) else (kind,)
        if found is None:
            continue
        if not isinstance(found, kinds_of) or (isinstance(found, bool) and bool not in kinds_of):
            shown = shortened(json.dumps(found, ensure_ascii=False))
            words = " or ".join(_WORDS[each] for each in kinds_of)
            raise UserError(f"got {name} = {shown} in {source}; expected {words}")


def shortened(text: str, most: int = 60) -> str:
    """The beginning of a text, on one line, for an error."""
    line = " ".join(text[: 2 * most].split())
    return line if len(text) <= most else f"{line[:most]}…"


_WORDS = {
    bool: "true or false", dict: "an object", float: "a number", int: "a whole number",
    list: "a list", str: "a text",
}  # fmt: skip
