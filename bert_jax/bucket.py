"""Objects in a bucket: listed, read, written and deleted, with patience and in one line.

    books = Prefix("gs://my-bucket/books")      or s3://
    books.objects()                             {"one.txt": Object(size=1204, …), …}
    books.get("one.txt", path)

The servers are spoken to by fsspec's libraries, gcsfs and s3fs, with the credentials that these
find. Nothing is assumed of a server but that an object is replaced as a whole and that what was
written is listed at once, as Google's and Amazon's promise. What a server does not answer now
(busy, silent, out of reach) is asked again for `patience` seconds, which is said; what it refuses
is refused at once.
"""

from __future__ import annotations

import base64
import binascii
import errno
import hashlib
import logging
import os
import re
import secrets
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bert_jax.errors import PlaceAwayError, UserError
from bert_jax.waiting import said_while

T = TypeVar("T")

PATIENCE = 600.0
"""How many seconds a server is asked again that does not answer."""

_SCHEMES = ("gs", "s3")
# Whose errors are a network's where they are no refusals.
_CLIENTS = ("aiobotocore", "aiohttp", "botocore", "fsspec", "gcsfs", "google", "requests")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 20.0
# Silence is asked again about as soon as the libraries do by themselves.
_CONNECT_SECONDS, _ANSWER_SECONDS = 20.0, 30.0
_CHUNK = 2**23  # bytes sent at once: what a slow line sends before a silence counts
_BUSY = (408, 429, 500, 502, 503, 504)
_FULL = 507
# A login that has run out comes as an error of the network's kind.
_WITHOUT_CREDENTIALS = re.compile(r"^\w*(Credential|Token)\w*:|invalid_grant|[Rr]eauthentication")
_OF_THE_NETWORK = ("HTTPClientError", "ConnectionError", "ResponseParserError")  # of botocore's
# What gcsfs makes of some answers, without their number.
_GCSFS_STATUSES = {"Forbidden: ": 403, "Bad Request: ": 400, "Bucket is requester pays": 400}
_PASSING = (errno.EBUSY, errno.EREMOTEIO, errno.ETIMEDOUT, errno.ECONNREFUSED, errno.ECONNRESET)


@dataclass(frozen=True)
class Object:
    """One object, as a server lists it.

    Attributes:
        size: bytes.
        md5: of these, 32 hexadecimal digits; empty where the server does not say.
        changed: when it was written, by the server's clock; seconds since 1970.
    """

    size: int
    md5: str
    changed: float

    def is_same(self, path: Path) -> bool:
        """Whether a file on this machine holds the same; False where nobody can tell."""
        try:
            with path.open("rb") as file:
                return (
                    bool(self.md5)
                    and path.stat().st_size == self.size
                    and hashlib.file_digest(file, "md5").hexdigest() == self.md5
                )
        except OSError:
            return False


class Prefix:
    """The objects of a bucket whose names go on from a URL, as files of a folder do.

    Args:
        url: such as `gs://bucket/runs/mine`, also as `Path` spells it (`gs:/bucket/…`).
        patience: seconds for which a server that does not answer is asked again.

    Raises:
        UserError: it is no URL of a bucket.
    """

    def __init__(self, url: str | os.PathLike[str], *, patience: float = PATIENCE):
        found = re.fullmatch(r"([A-Za-z][\w.+-]+):/{1,2}([^/]*)(?:/+(.*?))?/*", os.fspath(url))
        if found is None or found[1] not in _SCHEMES:
            raise UserError(
                f"got {os.fspath(url)}, which cannot be read or written here; expected a path,"
                " or a bucket's: gs://BUCKET/… or s3://BUCKET/…"
            )
        if not found[2]:
            raise UserError(
                f"got {os.fspath(url)}, which names no bucket; expected {found[1]}://BUCKET/…"
            )
        self._scheme, self._root = found[1], "/".join(filter(None, (found[2], found[3])))
        self.url = f"{self._scheme}://{self._root}"
        self._bucket, self._patience = f"{self._scheme}://{found[2]}", patience

    def __truediv__(self, name: str) -> Prefix:
        return Prefix(f"{self.url}/{name}", patience=self._patience)

    def objects(self) -> dict[str, Object]:
        """What is there, by the rest of its name; of a URL that is an object's, that as "".

        Raises:
            UserError: there is no such bucket, or it may not be listed.
            PlaceAwayError: the server does not answer.
        """

        def find() -> dict[str, dict[str, Any]]:
            files = self._files()
            files.invalidate_cache()
            return files.find(self._root, detail=True)

        found = self._ask(find, "listed", self.url)
        return {
            name.removeprefix(self._root).removeprefix("/"): _object(info)
            for name, info in sorted(found.items())
            if not name.endswith("/")  # what stands for an empty folder
        }

    def read(self, name: str) -> bytes | None:
        """The content of a small object; None where it is not there."""
        with suppress(FileNotFoundError):
            return self._ask(lambda: self._files().cat_file(self._key(name)), "read", self.at(name))
        return None

    def write(self, name: str, content: bytes) -> None:
        """Write a small object, and have the server compare what it got."""
        named: dict[str, Any] = {}
        if self._scheme == "gs" and content:
            # Sent in one part, gcsfs puts it between lines: a last byte 13 is taken for a line end.
            named = {"consistency": "md5", "chunksize": len(content)}
        self._ask(
            lambda: self._files().pipe_file(self._key(name), content, **named),
            "written",
            self.at(name),
        )

    def get(self, name: str, path: Path) -> None:
        """Fetch an object into a file, whole or not at all."""
        partial = path.with_name(f".{path.name}.partial-{secrets.token_hex(4)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._ask(
                lambda: self._files().get_file(self._key(name), str(partial)), "read", self.at(name)
            )
            partial.replace(path)
        finally:
            with suppress(OSError):
                partial.unlink()

    def put(self, path: Path, name: str) -> None:
        """Write a file as an object, and have the server compare what it got."""
        if path.stat().st_size <= _CHUNK:
            self.write(name, path.read_bytes())
            return
        named = {"consistency": "md5"} if self._scheme == "gs" else {}
        self._ask(
            lambda: self._files().put_file(str(path), self._key(name), chunksize=_CHUNK, **named),
            "written",
            self.at(name),
        )

    def delete(self, name: str) -> None:
        """Delete an object; it may have gone already."""
        with suppress(FileNotFoundError):
            self._ask(lambda: self._files().rm_file(self._key(name)), "deleted", self.at(name))

    def at(self, name: str) -> str:
        """The URL of an object."""
        return f"{self.url}/{name}" if name else self.url

    def _key(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _files(self) -> Any:
        # They take a second to import, with what they need.
        if self._scheme == "s3":
            import s3fs

            return s3fs.S3FileSystem(use_listings_cache=False)
        import gcsfs

        logging.getLogger("gcsfs").setLevel(logging.CRITICAL + 1)  # what goes wrong is raised, too
        return gcsfs.GCSFileSystem(requests_timeout=_limits(), use_listings_cache=False)

    def _ask(self, call: Callable[[], T], done: str, what: str) -> T:
        """Call a library until it answers.

        Raises:
            FileNotFoundError: what is asked for is not there, but its bucket is.
            UserError: there is no such bucket, or the server refuses.
            PlaceAwayError: no answer within `patience`.
        """
        until, pause = time.monotonic() + self._patience, _FIRST_PAUSE
        while True:
            try:
                with said_while(what):
                    return call()
            except Exception as error:
                if isinstance(error, FileNotFoundError) and done in ("read", "deleted"):
                    raise
                if (refused := _refusal(error)) is not None:
                    raise UserError(
                        f"got {what}, which cannot be {done} ({refused}); expected a bucket that"
                        " exists, and permission for that"
                    ) from error
                if not _is_passing(error):
                    raise
                words, left = _words(error), until - time.monotonic()
                if left <= 0:
                    raise PlaceAwayError(
                        f"{what} cannot be {done}: no answer for {self._patience:.0f} s ({words})"
                    ) from error
            if pause >= _LONGEST_PAUSE:
                _say(f"waiting for {what}, which cannot be {done} now ({words})")
            time.sleep(min(pause * (1 + secrets.randbelow(100) / 100), left))
            pause = min(2 * pause, _LONGEST_PAUSE)


def limit_silence() -> None:
    """Have clients that other libraries open wait no longer for an answer than ours."""
    import fsspec.config

    fsspec.config.conf.setdefault("gs", {})["requests_timeout"] = _limits()


def _limits() -> Any:
    import aiohttp

    return aiohttp.ClientTimeout(
        total=None, sock_connect=_CONNECT_SECONDS, sock_read=_ANSWER_SECONDS
    )


def _object(info: dict[str, Any]) -> Object:
    changed = info.get("mtime") or info.get("LastModified")
    return Object(int(info["size"]), _md5(info), changed.timestamp() if changed else 0.0)


def _md5(info: dict[str, Any]) -> str:
    with suppress(KeyError, binascii.Error):
        return base64.b64decode(info["md5Hash"]).hex()
    tag = str(info.get("ETag", "")).strip('"')  # of one that was sent in parts it is no MD5
    return tag if re.fullmatch(r"[0-9a-f]{32}", tag) else ""


def _refusal(error: Exception) -> str | None:
    """Why a server does not do what is asked, and never will; None of anything else."""
    if isinstance(error, FileNotFoundError):
        return "there is no such bucket"
    if isinstance(error, TimeoutError) or getattr(error, "errno", None) in _PASSING:
        return None
    (status, reason), words = _answer(error), _words(error)
    if status == _FULL or "quotaexceeded" in reason.lower():
        return f"its quota is full: {words}"
    if status == 401 or _WITHOUT_CREDENTIALS.search(f"{type(error).__name__}: {words}"):
        return f"no credentials: {words}"
    if isinstance(error, PermissionError) or (400 <= status < 500 and status not in _BUSY):
        return words
    ancestors = {each.__name__ for each in type(error).__mro__}
    if "BotoCoreError" in ancestors and ancestors.isdisjoint(_OF_THE_NETWORK):
        return words  # of settings, before anything is asked
    return None


def _is_passing(error: Exception) -> bool:
    """Whether a server may do later what it does not do now; of what is no refusal."""
    if _answer(error)[0] in _BUSY or isinstance(error, TimeoutError | ConnectionError):
        return True
    if isinstance(error, OSError) and error.errno in _PASSING:
        return True
    modules = {each.__module__.partition(".")[0] for each in type(error).__mro__}
    return not modules.isdisjoint(_CLIENTS)


def _answer(error: Exception) -> tuple[int, str]:
    """The status that a server answered with, or 0, and the reason it gave, or nothing."""
    for each in (error, error.__cause__):
        if isinstance(answer := getattr(each, "response", None), dict):  # Amazon's
            status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return status, str(answer.get("Error", {}).get("Code", ""))
        code = getattr(each, "code", None) or getattr(each, "status", None)
        if isinstance(code, int | str) and str(code).isdecimal():
            reasons = (getattr(each, "_error_response", None) or {}).get("errors") or [{}]
            return int(code), str(reasons[0].get("reason", ""))
    for begin, status in _GCSFS_STATUSES.items():
        if str(error).startswith(begin):
            return status, ""
    return (412 if isinstance(error, FileExistsError) else 0), ""


def _words(error: Exception) -> str:
    text = re.sub(r"^(Forbidden|Bad Request): \S*\n", r"\1: ", str(error))  # gcsfs, and its address
    text = " ".join(text.split())
    return text[:200] or type(error).__name__


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
