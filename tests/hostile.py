"""Files that are not what they should be: what reading one may end in, and ways to make some."""

from __future__ import annotations

import copy
import io
import json
import signal
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bert_jax.errors import UserError

_SECONDS = 20
_MEMORY = 64 << 20  # bytes, beside ten times the file

DEEP = "[" * 100_000 + "]" * 100_000
DEEP_OBJECT = '{"a":' * 100_000 + "1" + "}" * 100_000
DIGITS = "9" * 5_000
WRONG = [None, True, -1, 10**30, 1.5, float("nan"), "", "x", "a\nb", [], [1], ["x"], {}, {"a": 1}]
"""Values of every JSON type, to stand where another one should."""


def said_of(read: Callable[[], Any], size: int) -> str | None:
    """What is wrong with a file, in one line; None where nothing is.

    Args:
        read: reads it.
        size: of the file, in bytes.

    Fails where reading ends in any other error, takes long, or takes more than ten times the file.
    """
    with _ends():
        tracemalloc.start()
        try:
            read()
            said = None
        except UserError as error:
            said = str(error)
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    assert peak <= 10 * size + _MEMORY, f"{peak:,} bytes for a file of {size:,}: {said}"
    if said is not None:
        assert len(said) < 3000, said[:2000]
    return said


@contextmanager
def _ends() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise AssertionError(f"it took more than {_SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def spoiled(content: Any) -> Iterator[tuple[str, Any]]:
    """Every way to put a wrong value in the place of one, or to leave one out; with its place.

    {"a": [1]}  ->  {"a": None}, {"a": [None]}, {}, {"a": []}, …
    """
    for path in _paths(content):
        for wrong in WRONG:
            yield f"{path} = {wrong!r}", _changed(content, path, wrong)
        if path:
            yield f"no {path}", _changed(content, path, _GONE)


_GONE = object()


def _paths(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(content, dict | list):
        keys = content if isinstance(content, dict) else range(len(content))
        for key in list(keys)[:12]:
            yield from _paths(content[key], (*path, key))


def _changed(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    content = copy.deepcopy(content)
    inside = content
    for key in path[:-1]:
        inside = inside[key]
    if value is _GONE:
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    return content


def npy_header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    """The beginning of a `.npy`, whatever follows."""
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def zipped(members: dict[str, bytes | int], packed: bool = True) -> bytes:
    """A zip; of a member that is a number, so many bytes of zero."""
    written = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(written, "w", kind) as archive:
        for name, content in members.items():
            with archive.open(name, "w", force_zip64=True) as file:
                if isinstance(content, int):
                    for _ in range(content >> 20):
                        file.write(bytes(1 << 20))
                else:
                    file.write(content)
    return written.getvalue()


def safetensors(header: Any, data: bytes = b"") -> bytes:
    """A `.safetensors` with such a header, which may be anything."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def written(folder: Path, name: str, content: Any) -> Path:
    """A file of bytes, of text, or of anything else as JSON."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, bytes):
        text = content if isinstance(content, str) else json.dumps(content)
        content = text.encode("utf-8", "surrogatepass")
    path.write_bytes(content)
    return path
