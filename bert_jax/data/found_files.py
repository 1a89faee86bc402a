"""Which files a path, a folder or a glob stands for, and which of a folder's are left out."""

import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bert_jax.data.byte_streams import GLANCE, PACKED_SUFFIXES, open_bytes
from bert_jax.data.json_files import looks_like_json
from bert_jax.errors import UserError

# What a folder is searched for; a file that is named, or found by a glob, may be called anything.
FOLDER_SUFFIXES = (
    *("", ".txt", ".text", ".md", ".rst"),
    *(".jsonl", ".ndjson", ".json", ".parquet", ".arrow"),
)
_SHARD = re.compile(r"[-_.]\d+-of-\d+\Z")  # as in news.en-00001-of-00100


@dataclass(frozen=True)
class FoundFiles:
    """The files that are there.

    Attributes:
        files: sorted.
        left_out: what a folder holds besides, but for hidden files.
    """

    files: list[Path]
    left_out: list[Path]


def find_files(pattern: str, text_column: str | None = None) -> FoundFiles:
    """Find the files a path, folder or glob stands for.

    A folder means every file under it, through links too, that is not hidden and has one of
    `FOLDER_SUFFIXES`, in small or capital letters, or a shard's number ("-00001-of-00100"); any
    of it may be followed by ".gz", ".bz2", ".xz" or ".zst". A `.json` file has to hold objects
    with text; a `datasets` folder's own files are not text.

    Raises:
        UserError: nothing is there, or a file cannot be read.
    """
    path = Path(pattern)
    files: list[Path] = []
    left_out: list[Path] = []
    if path.is_dir():
        for file in _files_under(path):
            (files if _is_wanted(file, text_column or "text") else left_out).append(file)
        expected = f"files ending in {' '.join(filter(None, FOLDER_SUFFIXES))} (or packed: .gz …)"
    elif path.exists():
        files, expected = [path], ""
    else:
        files = sorted(Path(f) for f in glob.glob(pattern, recursive=True) if os.path.isfile(f))
        expected = "python_docs, tfds:NAME, or a file, folder or glob that exists"
    if not files:
        besides = f" (but {_few(left_out)})" if left_out else ""
        raise UserError(
            f"got input {pattern!r}, where there is no file{besides}; expected {expected}"
        )
    for file in files:
        if not os.access(file, os.R_OK):
            raise UserError(f"got {str(file)!r}, which may not be read; expected a readable file")
    return FoundFiles(files, left_out)


def remark_on(pattern: str, found: FoundFiles) -> str | None:
    """Return a line that lists what was left out, if anything was."""
    if not found.left_out:
        return None
    count = len(found.left_out)
    return (
        f"{pattern}: left out {count} of {count + len(found.files)} files, whose names do not end "
        f"like those of text: {_few(found.left_out)}; name them, or use a glob, to read them too"
    )


def without_packing(name: str) -> str:
    """Return a file's name without what says that it is packed: "a.json.gz" -> "a.json"."""
    for suffix in PACKED_SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def _files_under(folder: Path) -> list[Path]:
    """All files under a folder that are not hidden, sorted; each linked folder is entered once."""
    return sorted(_walk(folder, set()))


def _walk(folder: Path, entered: set[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in entered:
        return
    entered.add(real)
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry, entered)
        elif entry.is_file():
            yield entry


def is_named_like_text(name: str) -> bool:
    """Whether a file of this name is one of those a folder is searched for."""
    name = without_packing(name)
    suffix = Path(name).suffix.lower()
    if suffix == ".arrow":  # beside its data `datasets` keeps what its functions computed
        return not name.startswith("cache-")
    return suffix in FOLDER_SUFFIXES or _SHARD.search(name) is not None


def _is_wanted(file: Path, text_column: str) -> bool:
    name = without_packing(file.name)
    if Path(name).suffix.lower() == ".json" and not _SHARD.search(name):
        with open_bytes(file) as (stream, _):
            head = stream.peek(GLANCE)[:GLANCE]
            return looks_like_json(head, False, text_column) is not None
    return is_named_like_text(name)


def _few(files: list[Path]) -> str:
    names = [file.name for file in files]
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
