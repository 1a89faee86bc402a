"""Where text comes from: the installed documentation, files, or a TFDS dataset."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

from bert_jax.arguments import is_url, strings
from bert_jax.data.bucket_files import find_objects, read_object
from bert_jax.data.document import Document
from bert_jax.data.found_files import find_files, remark_on
from bert_jax.data.python_docs import python_docs_identity, python_docs_size, read_python_docs
from bert_jax.data.text_files import FORMATS, Format, read_documents
from bert_jax.errors import UserError

T = TypeVar("T")

# A share is a file, or small files one after the other, up to about so many bytes.
_SHARE_BYTES = 16 << 20
_SHARE_RECORDS = 1 << 14


@dataclass(frozen=True)
class Source:
    """Documents that can be read again and again, one at a time: memory does not grow with them.

    Attributes:
        identity: one line that changes when the input does (paths, sizes and times of files;
            versions of packages and datasets).
        total_bytes: what the documents' `source_bytes` will add up to; None where unknown.
        shares: each opens part of the documents afresh; all, in order, are the source. They can be
            pickled, and opened on any machine that sees the same files.
        remarks: lines for people on what was left out.
        names: what was opened, for people.
    """

    identity: str
    total_bytes: int | None
    shares: tuple[Callable[[], Iterator[Document]], ...]
    remarks: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Document]:
        return chain.from_iterable(share() for share in self.shares)


def open_source(
    inputs: str | Sequence[str],
    text_format: Format = "auto",
    text_column: str | None = None,
) -> Source:
    """Open one input, or several read one after the other.

    Args:
        inputs: each is one of
            "python_docs": the documentation of the installed packages (`python_docs.py`);
            a file, a folder or a glob: text, JSON or tables, packed or not (`text_files.py`);
            "gs://…", "s3://…": the same in a bucket; each file is fetched while it is read;
            "tfds:NAME": a TFDS text dataset, by name or by its folder (`tfds_text.py`).
        text_format: how files are laid out; "auto" goes by their names, then by how they begin
            (`text_files.format_of`).
        text_column: the member or column that holds the text, for JSON, tables and TFDS.

    Raises:
        UserError: an input that does not exist or is not what it should be. An error inside
            a file is raised, as the same error, when it is read.
    """
    if text_format not in FORMATS:
        raise UserError(f"got format {text_format!r}; expected one of {', '.join(FORMATS)}")
    if isinstance(inputs, os.PathLike):
        inputs = os.fspath(inputs)
    inputs = strings("inputs", inputs, "names of files and data sets")
    if not inputs or not all(inputs):
        raise UserError(f"got inputs {inputs}; expected python_docs, tfds:NAME, or paths")
    return _joined([_open_one(name, text_format, text_column) for name in inputs])


def texts_in_memory(texts: Sequence[str]) -> Source:
    """Documents in memory, one per string: running text, with blank lines between paragraphs.

    A string is a document however short it is, never the name of a file.

        >>> [document.name for document in texts_in_memory(["A text.", "Another."])]
        ['text 1', 'text 2']

    Raises:
        UserError: something that is not a string.
    """
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str):
            raise UserError(f"got {type(text).__name__} as text {number}; expected strings")
    size, digest = 0, hashlib.sha256()
    for text in texts:
        data = text.encode(errors="surrogatepass")
        size += len(data)
        digest.update(hashlib.sha256(data).digest())
    identity = f"{len(texts)} texts in memory, sha256 {digest.hexdigest()}"
    return Source(identity, size, (partial(_read_texts, tuple(texts)),), names=(identity,))


def _read_texts(texts: Sequence[str]) -> Iterator[Document]:
    for number, text in enumerate(texts, 1):
        size = len(text.encode(errors="surrogatepass"))
        yield Document(f"text {number}", text, source_bytes=size)


def _open_one(name: str, text_format: Format, text_column: str | None) -> Source:
    if name == "python_docs":
        return Source(
            python_docs_identity(), python_docs_size(), (read_python_docs,), names=(name,)
        )
    if name.startswith("tfds:"):
        # Here and not above: the import takes a second, which other inputs need not pay.
        from bert_jax.data.tfds_text import TfdsText

        dataset = TfdsText(name.removeprefix("tfds:"), text_column)
        starts = range(0, len(dataset), _SHARE_RECORDS)
        shares = (partial(dataset.read, start, start + _SHARE_RECORDS) for start in starts)
        return Source(dataset.identity, None, tuple(shares), names=(name,))
    if is_url(name):
        return _open_bucket(name, text_format, text_column)
    found = find_files(name, text_column)
    files = found.files
    stats = [file.stat() for file in files]
    listing = "\n".join(
        f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns}"
        for file, stat in zip(files, stats, strict=True)
    )
    told = f"{text_format} {text_column}\n{listing}".encode(errors="surrogateescape")
    digest = hashlib.sha256(told).hexdigest()
    return Source(
        f"{len(files)} files, sha256 of names, sizes and times {digest}",
        sum(stat.st_size for stat in stats),
        tuple(partial(_read_files, share, text_format, text_column) for share in shares_of(files)),
        tuple(filter(None, [remark_on(name, found)])),
        (name,),
    )


def _open_bucket(url: str, text_format: Format, text_column: str | None) -> Source:
    found, remark = find_objects(url)
    listing = [f"{name} {each.size} {each.md5 or each.changed}" for name, each in found.items()]
    digest = hashlib.sha256("\n".join([f"{text_format} {text_column}", *listing]).encode())
    sizes = [(name, each.size) for name, each in found.items()]
    return Source(
        f"{len(found)} objects, sha256 of names, sizes and contents {digest.hexdigest()}",
        sum(size for _, size in sizes),
        tuple(partial(_read_objects, share, text_format, text_column) for share in _parted(sizes)),
        tuple(filter(None, [remark])),
        (url,),
    )


def _read_objects(urls: list[str], fmt: Format, column: str | None) -> Iterator[Document]:
    for url in urls:
        yield from read_object(url, fmt, column)


def shares_of(files: Sequence[Path]) -> list[list[Path]]:
    """Part files, in order, into shares for the workers: small ones together, large ones alone."""
    return _parted((file, file.stat().st_size) for file in files)


def _parted(sizes: Iterable[tuple[T, int]]) -> list[list[T]]:
    shares: list[list[T]] = []
    room = 0
    for file, size in sizes:
        if not shares or size > room:
            shares.append([])
            room = _SHARE_BYTES
        shares[-1].append(file)
        room -= size
    return shares


def _read_files(files: list[Path], fmt: Format, column: str | None) -> Iterator[Document]:
    for file in files:
        yield from read_documents(file, fmt, column)


def _joined(sources: list[Source]) -> Source:
    if len(sources) == 1:
        return sources[0]
    sizes = [source.total_bytes for source in sources]
    known = [size for size in sizes if size is not None]
    return Source(
        " + ".join(source.identity for source in sources),
        sum(known) if len(known) == len(sizes) else None,
        tuple(chain.from_iterable(source.shares for source in sources)),
        tuple(chain.from_iterable(source.remarks for source in sources)),
        tuple(chain.from_iterable(source.names for source in sources)),
    )
