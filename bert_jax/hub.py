"""The Hugging Face hub: fetch a model's files, list them, push a directory.

Tokens and the place of the cache are those of the library `huggingface_hub` (`hf auth login`,
HF_TOKEN, HF_HOME, HF_ENDPOINT).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bert_jax.errors import DamagedFileError, UserError

_GIT_DIGITS = 40
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
NAME = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9][\w.-]*(?:/[\w.-]+)?(?:@[\w./-]+)?", re.ASCII)


def fetch(name: str, wanted: Sequence[str]) -> Path:
    """Fetch files of a model from the hub, or find them in the hub's cache, and say where.

    Args:
        name: `owner/name` or `name`, and perhaps `@revision`.
        wanted: patterns of the files.

    Returns:
        A folder whose name is the commit.

    Raises:
        UserError: there is no such model, or no network.
        DamagedFileError: see `check_snapshot`.
    """
    import huggingface_hub  # takes a second to import

    repository, revision = _split(name)
    with _one_line(name):
        folder = Path(
            huggingface_hub.snapshot_download(
                repository, revision=revision, allow_patterns=list(wanted)
            )
        )
    check_snapshot(folder, wanted)
    return folder


def check_snapshot(folder: Path, wanted: Sequence[str]) -> None:
    """Compare files of the hub's cache with their hashes, which are the names they are kept by.

        snapshots/COMMIT/model.safetensors -> ../../blobs/53aa…     sha256, or git's of small files

    The hub's library looks at their size alone.

    Args:
        folder: of a commit. Where the cache has no links, as on some disks, nothing is known.
        wanted: patterns of the files.

    Raises:
        DamagedFileError: one does not hold what its hash says.
    """
    for path in sorted({path for pattern in wanted for path in folder.glob(pattern)}):
        blob = path.resolve()
        named = blob.parent.name == "blobs" and _HASH.fullmatch(blob.name) is not None
        if named and blob.is_file() and not _holds(blob):
            raise DamagedFileError(
                path, "its hash is not the hub's", f"remove {blob}, and it is downloaded again"
            )


def _holds(blob: Path) -> bool:
    if len(blob.name) == _GIT_DIGITS:
        found = hashlib.sha1(b"blob %d\0" % blob.stat().st_size, usedforsecurity=False)
    else:
        found = hashlib.sha256()
    with blob.open("rb") as file:
        while part := file.read(1 << 20):
            found.update(part)
    return found.hexdigest() == blob.name


def files_of(name: str) -> list[str]:
    """The names of all files of a model on the hub.

    Raises:
        UserError: there is no such model, or no network.
    """
    import huggingface_hub

    repository, revision = _split(name)
    with _one_line(name):
        return huggingface_hub.HfApi().list_repo_files(repository, revision=revision)


def check_pushable(argument: str, name: str) -> None:
    """Refuse a name that no model of an owner can have on the hub.

    Raises:
        UserError: it is none.
    """
    if not NAME.fullmatch(name) or "/" not in name or "@" in name:
        raise UserError(f"got {argument}={name}; expected OWNER/NAME, as on the Hugging Face hub")


def push(directory: Path, name: str, *, private: bool, message: str) -> str:
    """Put all files of a directory on the hub as one commit; make the model there where absent.

    Args:
        directory: whose files to push.
        name: `owner/name`.
        private: whether a model that is made is private.
        message: of the commit.

    Returns:
        The commit.

    Raises:
        UserError: the hub refuses, as without a token that may write, or there is no network.
    """
    import huggingface_hub

    api = huggingface_hub.HfApi()
    try:
        api.create_repo(name, private=private, exist_ok=True)
        return api.upload_folder(folder_path=directory, repo_id=name, commit_message=message).oid
    except _errors() as error:
        raise UserError(
            f"got {name}, to which the Hugging Face hub did not let {directory} be"
            f" pushed ({_reason(error)}); expected a token that may write there: `hf auth login`,"
            " or HF_TOKEN"
        ) from None


def _split(name: str) -> tuple[str, str | None]:
    repository, _, revision = name.partition("@")
    return repository, revision or None


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """Say in one line what the hub did not give."""
    try:
        yield
    except _errors() as error:
        raise UserError(
            f"got {name!r}, where there is no file, and which the Hugging Face hub did not return"
            f" ({_reason(error)}); expected the path of a checkpoint, or a model on the hub"
        ) from None


def _errors() -> tuple[type[Exception], ...]:
    """What the library raises: its own errors are one of the first two, those of a network not."""
    from huggingface_hub.errors import HTTPError

    return OSError, ValueError, HTTPError


def _reason(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
