"""Files by which Beam's workers and the launching process tell each other what they made.

    shares/000007/   heads  pieces.npy  …  seal.json      a folder: there whole, or not at all
    tokenising/      begun  done-00000007                 marks: that something happened

What is read of a folder is what was written: its seal holds the digests of its other files. They
are arrays, JSON and records, in which nothing can run: others may be able to write there.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bert_jax.arguments import is_url
from bert_jax.bucket import Prefix
from bert_jax.errors import DamagedFileError, UserError
from bert_jax.file_digests import read_vouching, write_vouching
from bert_jax.whole_file import partial_folder, whole_folder

_SEAL, _REMEDY = "seal.json", "give the command again"


@dataclass(frozen=True)
class FolderExchange:
    """A folder that the launching process and all workers see, under the same path.

    Attributes:
        place: a folder.
    """

    place: Path

    def __truediv__(self, name: str) -> FolderExchange:
        return FolderExchange(self.place / name)

    @contextmanager
    def write(self, name: str) -> Iterator[Path]:
        """Give a new folder to fill; it gets its name, and its seal, when the block ends well.

        Where another worker was faster, its folder stands.
        """
        with whole_folder(self.place / name, keep_other=True) as folder:
            yield folder
            _seal(folder)

    @contextmanager
    def read(self, name: str) -> Iterator[Path]:
        """Give a folder that was written.

        Raises:
            DamagedFileError: it is not as it was written.
        """
        folder = self.place / name
        _check(folder)
        yield folder

    def make(self) -> None:
        """Make the place, which no worker does: one that does not see it shall say so."""
        self.place.mkdir(parents=True)

    def mark(self, name: str, text: str = "") -> None:
        """Leave a mark; one that is there is replaced."""
        (self.place / name).write_text(text)

    def marks(self) -> set[str]:
        """The names of all marks."""
        return {file.name for file in self.place.iterdir()} if self.place.is_dir() else set()

    def text_of(self, mark: str) -> str:
        """The text of a mark."""
        return (self.place / mark).read_text()


@dataclass(frozen=True)
class BucketExchange:
    """The same in a bucket, for engines whose workers share no disk.

    Attributes:
        place: a URL, gs:// or s3://.
    """

    place: str

    def __truediv__(self, name: str) -> BucketExchange:
        return BucketExchange(f"{self.place}/{name}")

    @contextmanager
    def write(self, name: str) -> Iterator[Path]:
        """Give a new folder to fill; it is sent when the block ends well, its seal last.

        Who sends the same twice sends the same bytes.
        """
        with TemporaryDirectory() as made:
            folder, there = Path(made), Prefix(self.place) / name
            yield folder
            for file in _seal(folder):
                there.put(folder / file, file)

    @contextmanager
    def read(self, name: str) -> Iterator[Path]:
        """Give a copy of a folder that was written.

        Raises:
            UserError: it is not as it was written.
        """
        with TemporaryDirectory() as copy:
            folder, there = Path(copy), Prefix(self.place) / name
            for file in there.objects():
                there.get(file, folder / file)
            try:
                _check(folder)
            except DamagedFileError as error:
                raise UserError(str(error).replace(str(folder), there.url)) from error
            yield folder

    def make(self) -> None:
        """Find out whether the bucket can be written."""
        Prefix(self.place).write(".made", b"")

    def mark(self, name: str, text: str = "") -> None:
        """Leave a mark; one that is there is replaced."""
        Prefix(self.place).write(name, text.encode())

    def marks(self) -> set[str]:
        """The names of all marks."""
        return {name for name in Prefix(self.place).objects() if name != ".made"}

    def text_of(self, mark: str) -> str:
        """The text of a mark."""
        return (Prefix(self.place).read(mark) or b"").decode()


Exchange = FolderExchange | BucketExchange


@contextmanager
def new_exchange(beside: Path, bucket: str | None = None) -> Iterator[Exchange]:
    """Give a new place, and remove it afterwards.

    Args:
        beside: a path; the place is in the folder of it, if not
        bucket: in the folder of this URL.
    """
    if bucket is None:
        with partial_folder(beside.absolute()) as folder:
            yield FolderExchange(folder)
        return
    place = Prefix(bucket) / f"{beside.name}-{secrets.token_hex(8)}"
    try:
        yield BucketExchange(place.url)
    finally:
        for name in place.objects():
            place.delete(name)


def is_bucket(place: str) -> bool:
    """Whether it is the URL of one that can be used; of other places, False.

    Raises:
        UserError: it is a URL, but not one that is read and written.
    """
    if is_url(place):
        Prefix(place)
    return is_url(place)


def _seal(folder: Path) -> list[str]:
    """Write the seal of a folder; returns the names of all files, the seal last."""
    names = sorted(file.name for file in folder.iterdir())
    write_vouching(folder / _SEAL, {}, names)
    return [*names, _SEAL]


def _check(folder: Path) -> None:
    try:
        read_vouching(folder / _SEAL, _REMEDY)
    except OSError as error:
        reason = f"it cannot be read: {error.strerror}"
        raise DamagedFileError(folder / _SEAL, reason, _REMEDY) from error
