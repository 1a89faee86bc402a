"""Folders in buckets, and their copies on this machine's disk, where all work is done.

What is read is copied first, and anew where the bucket has changed. What is written is made on the
disk, as everywhere, and then sent: single files first, then folders that are made whole (a corpus,
a checkpoint), `result.json` last. So a bucket always holds what a disk would after a kill.

    .unfinished     lies in a folder that is being sent or deleted, and goes last: what is in such a
                    folder is not there for anybody who reads

Copies lie in the user's cache folder (XDG_CACHE_HOME, ~/.cache), under bert_jax/buckets.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from bert_jax.arguments import is_url
from bert_jax.bucket import PATIENCE, Object, Prefix
from bert_jax.errors import UserError
from bert_jax.progress import ProgressBar

_UNFINISHED, _LOCK, _LAST = ".unfinished", ".lock", "result.json"
_AT_ONCE = 8  # transfers
# Folders that are renamed into place on a disk, wherever in a working directory they lie.
_WHOLE = re.compile(r"((?:.*/)?(?:checkpoints/[^/]+|best|corpus))/.+")
_PASSING = re.compile(r"(.*/)?(\.[^/]*\.partial-|[^/]*\.orbax-checkpoint-tmp|\.[^/]*\.lock$)")


class NothingThereError(UserError):
    """A URL of a bucket that is there and holds nothing of that name."""


def cache_folder() -> Path:
    """Where what can be made again is kept on this machine: in the user's cache folder.

    Raises:
        RuntimeError: nobody knows the home folder.
    """
    cache = os.environ.get("XDG_CACHE_HOME", "")  # to be ignored unless it is absolute
    return (Path(cache) if os.path.isabs(cache) else Path.home() / ".cache") / "bert_jax"


def at_hand(
    path: str | os.PathLike[str], leave: Collection[str] = (), beside: Collection[str] = ()
) -> Path:
    """A path on this machine: `path` itself, or the copy of what a bucket holds there, up to date.

    Args:
        path: of a file or a folder; or a URL of an object, or of the folder it would be.
        leave: names of folders in it that are not needed.
        beside: endings of files that belong to it and may lie beside it, such as `.json`.

    Raises:
        UserError: there is nothing, or it may not be read.
        PlaceAwayError: the bucket does not answer.
    """
    if not is_url(path):
        return Path(path)
    prefix = Prefix(path)
    wanted = _readable(prefix.objects(), leave)
    if not wanted:
        raise NothingThereError(
            f"got {prefix.url}, which does not exist; expected a file or a folder"
        )
    place = place_of_copy(prefix)
    with _one_at_a_time(place):
        single = set(wanted) == {""}
        if place.exists() and place.is_dir() == single:
            shutil.rmtree(place) if place.is_dir() else place.unlink()
        _fetch(prefix, wanted, place)
        if not single:
            _keep_only(place, wanted, leave)
    for ending in beside:
        try:
            at_hand(f"{prefix.url}{ending}")
        except NothingThereError:
            place.with_name(f"{place.name}{ending}").unlink(missing_ok=True)
    return place


def names_at(path: str | os.PathLike[str]) -> list[str]:
    """The names of what a folder of a disk holds, or of all files below one of a bucket.

    Of a file it is one, "", and of what is not there none.
    """
    if is_url(path):
        return list(_readable(Prefix(path).objects()))
    path = Path(path)
    if not path.is_dir():
        return [""] if path.exists() else []
    return os.listdir(path)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Find out before the work, not after it, whether a bucket lets a file be written and replaced.

    Raises:
        UserError: it does not.
        PlaceAwayError: it does not answer.
    """
    if is_url(path):
        folder, _, name = Prefix(path).url.rpartition("/")
        tried = f".{name}.partial-{secrets.token_hex(4)}"
        Prefix(folder).write(tried, b"")
        Prefix(folder).delete(tried)


def copy_of(path: str | os.PathLike[str]) -> Path:
    """Where the copy of a URL is, or would be; a path is itself."""
    return place_of_copy(Prefix(path)) if is_url(path) else Path(path)


def as_given(path: str | os.PathLike[str]) -> str:
    """What the user calls a path, or each in a text: of a copy, the URL of what it is the copy."""
    places = re.escape(f"{cache_folder()}/buckets/")
    return re.sub(rf"{places}(?:copies|work)/(\w+)/", r"\1://", os.fspath(path))


@contextmanager
def told_by_url() -> Iterator[None]:
    """Have mistakes that are told within the block, or function, name URLs and not their copies."""
    try:
        yield
    except UserError as error:
        error.args = tuple(as_given(str(each)) for each in error.args)
        raise


class Mirror:
    """A folder in a bucket that one process writes, and its copy on this machine.

    Args:
        url: of the folder.
        whole: whether the folder itself appears whole or not at all.
        folder: the copy; by default in the user's cache folder.
        patience: seconds for which a server that does not answer is asked again.
    """

    def __init__(
        self,
        url: str | os.PathLike[str],
        *,
        whole: bool = False,
        folder: Path | None = None,
        patience: float = PATIENCE,
    ):
        self._prefix, self._is_whole = Prefix(url, patience=patience), whole
        self.url, self.folder = self._prefix.url, folder or work_place(self._prefix)
        self._there: dict[str, Object] = {}
        self._sent: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def fetch(self) -> Path:
        """Make the copy equal to what the bucket holds, and return its folder.

        What was written here and did not reach the bucket goes: the bucket is what counts.
        """
        self._there = self._prefix.objects()
        if "" in self._there:
            raise UserError(f"got {self.url}, which is a file; expected a directory to write")
        wanted = _readable(self._there)
        _fetch(self._prefix, wanted, self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        _keep_only(self.folder, wanted)
        self._sent = _stamps(self.folder)
        return self.folder

    def replace(self) -> None:
        """Put what the folder holds in place of all that the bucket does."""
        self._there = self._prefix.objects()
        self._sent = {}
        self.publish()

    def publish(self) -> None:
        """Make what the bucket holds equal to the copy; returns when it does.

        Raises:
            UserError: the bucket refuses.
            PlaceAwayError: it does not answer.
        """
        with self._lock:
            here = _stamps(self.folder)
            changed = [name for name, stamp in here.items() if self._sent.get(name) != stamp]
            gone = [name for name in self._there if name not in here and not _is_ours(name)]
            units = {unit for name in (*changed, *gone) if (unit := self._unit(name)) is not None}
            units |= {
                str(PurePosixPath(name).parent)
                for name in self._there
                if PurePosixPath(name).name == _UNFINISHED
            }
            loose = [name for name in changed if self._unit(name) is None]
            self._send([name for name in loose if PurePosixPath(name).name != _LAST], here)
            for unit in sorted(units):
                self._replace(unit, here, changed, gone)
            self._send([name for name in loose if PurePosixPath(name).name == _LAST], here)
            self._delete([name for name in gone if self._unit(name) is None])

    def _replace(
        self, unit: str, here: dict[str, tuple[int, int]], changed: list[str], gone: list[str]
    ) -> None:
        """Send a folder that is made whole, or what of it is new."""
        mark = f"{unit}/{_UNFINISHED}".removeprefix("./")
        self._prefix.write(mark, b"")
        self._there[mark] = Object(0, "", 0.0)
        self._delete([name for name in gone if self._unit(name) == unit])
        self._send([name for name in changed if self._unit(name) == unit], here)
        self._delete([mark])

    def _send(self, names: Iterable[str], here: dict[str, tuple[int, int]]) -> None:
        def send(name: str) -> None:
            self._prefix.put(self.folder / name, name)

        sizes = {name: here[name][0] for name in names}
        for name in _all_of(f"sending {self.url}", send, sizes):
            self._sent[name] = here[name]
            self._there[name] = Object(here[name][0], "", 0.0)

    def _delete(self, names: Iterable[str]) -> None:
        for name in _all_of(f"tidying {self.url}", self._prefix.delete, dict.fromkeys(names, 0)):
            self._there.pop(name, None)
            self._sent.pop(name, None)

    def _unit(self, name: str) -> str | None:
        if self._is_whole:
            return "."
        found = _WHOLE.fullmatch(name)
        return found and found[1]


def _readable(there: dict[str, Object], leave: Collection[str] = ()) -> dict[str, Object]:
    """What counts of what a bucket lists: nothing that is unfinished, no locks."""
    marks = [PurePosixPath(name) for name in there]
    unfinished = {str(mark.parent) for mark in marks if mark.name == _UNFINISHED}
    return {
        name: found
        for name, found in there.items()
        if not _is_ours(name)
        and not unfinished & {str(parent) for parent in PurePosixPath(name).parents}
        and PurePosixPath(name).parts[:1] not in [(each,) for each in leave]
    }


def _is_ours(name: str) -> bool:
    path = PurePosixPath(name)
    return path.name == _UNFINISHED or path.parts[:1] == (_LOCK,)


def _fetch(prefix: Prefix, wanted: dict[str, Object], place: Path) -> None:
    def path(name: str) -> Path:
        return place / name if name else place

    missing = {n: found.size for n, found in wanted.items() if not found.is_same(path(n))}
    for _ in _all_of(f"fetching {prefix.url}", lambda n: prefix.get(n, path(n)), missing):
        pass
    for name, found in wanted.items():  # the same on every machine
        os.utime(path(name), (found.changed, found.changed))


def _all_of(what: str, do: Callable[[str], None], sizes: dict[str, int]) -> Iterator[str]:
    """Do something for each name, several at once; give back each name that is done."""
    if not sizes:
        return
    with (
        ProgressBar(what, sum(sizes.values()) or None) as bar,
        ThreadPoolExecutor(_AT_ONCE) as pool,
    ):
        waiting = {name: pool.submit(do, name) for name in sizes}
        try:
            for name, each in waiting.items():
                each.result()
                bar.advance(sizes[name])
                yield name
        finally:
            for each in waiting.values():
                each.cancel()


def _stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """The files of a folder that are there to stay, and by what one is known to be unchanged."""
    found = {}
    for base, _, names in os.walk(folder, followlinks=True):  # buckets know no links
        for name in names:
            file = Path(base) / name
            relative = file.relative_to(folder).as_posix()
            if name != _LOCK and not _PASSING.match(relative):
                with suppress(FileNotFoundError):  # it has just gone
                    found[relative] = (file.stat().st_size, file.stat().st_mtime_ns)
    return dict(sorted(found.items()))


def _keep_only(place: Path, wanted: Collection[str], leave: Collection[str] = ()) -> None:
    """Remove from a copy what the bucket does not hold."""
    for base, folders, names in os.walk(place, topdown=False):
        for name in names:
            file = Path(base) / name
            relative = file.relative_to(place)
            left = relative.parts[0] in leave or name.endswith(_LOCK)
            if relative.as_posix() not in wanted and not left:
                file.unlink()
        for name in folders:
            with suppress(OSError):  # it is in use
                (Path(base) / name).rmdir()


def place_of_copy(prefix: Prefix) -> Path:
    """Where the copy lies that `at_hand` gives."""
    return _place("copies", prefix)


def work_place(prefix: Prefix) -> Path:
    """Where on this machine that lies which is made for a bucket."""
    return _place("work", prefix)


def _place(kind: str, prefix: Prefix) -> Path:
    scheme, _, rest = prefix.url.partition("://")
    return cache_folder() / "buckets" / kind / scheme / rest


@contextmanager
def _one_at_a_time(place: Path) -> Iterator[None]:
    """Let one process at a time bring a copy up to date."""
    lock = place.with_name(f".{place.name}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    except OSError as error:
        raise UserError(
            f"got {lock.parent}, where copies of buckets cannot be kept ({error.strerror});"
            " expected a folder that can be written (XDG_CACHE_HOME names another)"
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
