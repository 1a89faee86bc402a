"""Whether files hold what was written: digests of files, and JSON that carries its own.

    {"fingerprint": "4bfa…", "report": {…}, "digest": "9d31…"}      the digest is of all the rest

Files of before there were digests have none, and are read as they are. They guard against disks and
copies, not against people.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bert_jax.errors import DamagedFileError
from bert_jax.json_reading import NotJSONError, parse_json
from bert_jax.whole_file import write_json

CHANGED = "it is not what was written"
_DIGEST, _FILES = "digest", "digests"
_HEX_DIGITS = 32


def digests_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The digest of each file of a folder, hexadecimal, by its name there. Reads 1.5 GB a second.

    Raises:
        OSError: one cannot be read.
    """
    return {name: _digest(folder / name) for name in names}


def check_digests(folder: Path, digests: Mapping[str, str], remedy: str) -> None:
    """Compare files of a folder with what `digests_of` said of them.

    Raises:
        DamagedFileError: one is not there or not what was written.
    """
    for name, digest in digests.items():
        try:
            found = _digest(folder / name)
        except OSError as error:
            raise DamagedFileError(
                folder / name, f"it cannot be read: {error.strerror}", remedy
            ) from error
        if found != digest:
            raise DamagedFileError(folder / name, CHANGED, remedy)


def write_sealed(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write indented JSON with its own digest, whole or not at all; `read_sealed` reads it."""
    bare = {name: value for name, value in content.items() if name != _DIGEST}
    write_json(path, {**bare, _DIGEST: _of_json(bare)})


def read_sealed(path: str | Path, remedy: str) -> dict[str, Any]:
    """The content of a JSON file, without its digest; of one that has none, all there is.

    Raises:
        DamagedFileError: it is not a JSON object, or not what was written.
        OSError: it cannot be read.
    """
    try:
        content = parse_json(Path(path).read_bytes())
    except NotJSONError as error:
        raise DamagedFileError(path, f"it is not valid JSON: {error}", remedy) from error
    if not isinstance(content, dict):
        raise DamagedFileError(path, "it is not a JSON object", remedy)
    digest = content.pop(_DIGEST, None)
    if digest is not None and digest != _of_json(content):
        raise DamagedFileError(path, CHANGED, remedy)
    return content


def write_vouching(path: str | Path, content: Mapping[str, Any], names: Iterable[str]) -> None:
    """Write JSON as `write_sealed` does, with the digests of some files that lie beside it."""
    write_sealed(path, {**content, _FILES: digests_of(Path(path).parent, names)})


def read_vouching(path: str | Path, remedy: str) -> dict[str, Any]:
    """The content that `write_vouching` was given, after verifying it and the files beside it.

    Raises:
        DamagedFileError: one of them is not what was written.
    """
    content = read_sealed(path, remedy)
    check_digests(Path(path).parent, content.pop(_FILES, {}), remedy)
    return content


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:_HEX_DIGITS]


def _of_json(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True)  # as it will be read back: tuples are lists there
    return hashlib.sha256(text.encode()).hexdigest()[:_HEX_DIGITS]
