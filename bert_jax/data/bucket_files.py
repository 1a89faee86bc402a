"""Text files in buckets: listed here; each is fetched by who reads it, and lies there so long."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bert_jax.bucket import Object, Prefix
from bert_jax.data.document import Document
from bert_jax.data.found_files import FoundFiles, is_named_like_text, remark_on
from bert_jax.data.text_files import Format, read_documents
from bert_jax.errors import UserError


def find_objects(url: str) -> tuple[dict[str, Object], str | None]:
    """Find what a gs:// or s3:// URL of an object, a folder or a glob stands for.

    Of a folder, by the names alone, what `find_files` takes of one.

    Returns:
        the objects by their URLs, sorted, and a line on those left out, if any.

    Raises:
        UserError: there is nothing, or it may not be listed.
    """
    fixed = re.split(r"[*?\[]", url, maxsplit=1)[0]
    is_glob = fixed != url
    prefix = Prefix(fixed.rpartition("/")[0] if is_glob else url)
    found = {prefix.at(name): each for name, each in prefix.objects().items()}
    left_out: list[Path] = []
    if is_glob:
        found = {name: each for name, each in found.items() if fnmatch.fnmatchcase(name, url)}
    elif set(found) != {prefix.url}:
        within = {name: name.removeprefix(prefix.url) for name in found}
        found = {name: each for name, each in found.items() if "/." not in within[name]}
        left_out = [Path(name) for name in found if not is_named_like_text(Path(name).name)]
        found = {name: each for name, each in found.items() if Path(name) not in left_out}
    if not found:
        raise UserError(f"got input {url!r}, where there is no file; expected text in that bucket")
    return dict(sorted(found.items())), remark_on(url, FoundFiles([*map(Path, found)], left_out))


def read_object(url: str, text_format: Format, text_column: str | None) -> Iterator[Document]:
    """Read the documents of one object, as `read_documents` does those of a file."""
    folder, _, name = url.rpartition("/")
    with TemporaryDirectory() as here:
        path = Path(here) / name
        Prefix(folder).get(name, path)
        try:
            for document in read_documents(path, text_format, text_column):
                yield replace(document, name=document.name.replace(str(path), url, 1))
        except UserError as error:
            raise UserError(str(error).replace(str(path), url)) from error
