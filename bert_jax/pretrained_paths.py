"""Where a pretrained model lies: a path, also a bucket's, or a name on the Hugging Face hub.

A name is a path, and the hub is never asked, where something is there, and also where nothing is
but only a path can be meant:

    ./base  ../base  ~/base  /base  a/b/c  a\\b  base/  vocab.txt     no name of the hub
    runs/books      where there is a folder runs/
    runz/pretrain   where there is a runs/pretrain: a letter is wrong, missing, or one too many

Else `owner/name`, and `name` for the oldest models, is asked of the hub; `name@revision` for a
branch, tag or commit of it.
"""

from __future__ import annotations

import difflib
import glob
import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

from bert_jax import hub
from bert_jax.arguments import is_url, path_like
from bert_jax.bucket import Prefix
from bert_jax.errors import UserError
from bert_jax.mirror import NothingThereError, at_hand, names_at

MODULES = "modules.json"  # of sentence-transformers: the parts of a model and their folders
_NOT_NEEDED = ("corpus", "tensorboard")  # of a run, to have its model
_FILE_ENDING = re.compile(
    r"\.(txt|json|npz|npy|safetensors|orbax|vec|ckpt|index|bin|pt|pth|h5|msgpack|gz|tar|zip)$"
)


def locate(source: str | os.PathLike[str], wanted: Sequence[str]) -> Path:
    """The path of a pretrained model, fetched from the hub where that is where it is.

    Args:
        source: a path (`~` is the home folder; of a folder of the hub's cache, its snapshot is
            meant) or a bucket's, the prefix of a Google checkpoint, or a name on the hub, with or
            without @revision.
        wanted: patterns of the files to fetch.

    Raises:
        UserError: there is nothing; says which path nearby there is.
    """
    there = is_path(source)
    path = checkpoint_at_hand(source) if is_url(source) else Path(source).expanduser()
    if there:
        if (path / "snapshots").is_dir():
            path = _snapshot(path)
        if path.is_dir():
            hub.check_snapshot(path, wanted)
        else:
            hub.check_snapshot(path.parent, [glob.escape(path.name)])
        return path
    name, near = str(source), _nearby(path)
    if isinstance(source, str) and hub.NAME.fullmatch(name) and not _is_local(name, near):
        return hub.fetch(name, wanted)
    raise UserError(
        f"got {name!r}, which does not exist; expected the path of a checkpoint"
        + (f": there is {near}" if near else ", or a name on the Hugging Face hub such as ")
        + ("" if near else "bert-base-uncased")
    )


def checkpoint_at_hand(path: str | os.PathLike[str]) -> Path:
    """A path itself, or the copy of a checkpoint in a bucket.

    Of one of ours, what of its run tells about it is copied, too.
    """
    if not is_url(path):
        return Path(path)
    given = Prefix(path).url
    if names_at(f"{given}.index"):  # Google's: a prefix of files
        given = f"{given}.index"
    folder, _, name = given.rpartition("/")
    if name.endswith(".index"):
        return at_hand(folder, _NOT_NEEDED) / name
    run = folder.removesuffix("/checkpoints") if name.isdecimal() else folder
    if name == "checkpoints" or (name.isdecimal() and run != folder):
        with suppress(NothingThereError):
            at_hand(run, (*_NOT_NEEDED, "checkpoints"))
    return at_hand(given, _NOT_NEEDED)


def _snapshot(folder: Path) -> Path:
    """The model in a folder of the hub's cache, models--OWNER--NAME.

    refs/main         the commit that `main` was when it was fetched last
    snapshots/COMMIT  links to the files in blobs/

    Raises:
        UserError: there are several and none is called main.
    """
    main = folder / "refs" / "main"
    if main.is_file() and (named := folder / "snapshots" / main.read_text().strip()).is_dir():
        return named
    found = sorted(path for path in (folder / "snapshots").iterdir() if path.is_dir())
    if len(found) != 1:
        raise UserError(
            f"got {folder}, a folder of the hub's cache with {len(found)} snapshots"
            f" ({', '.join(path.name[:12] for path in found[:4]) or 'it is empty'}) and none that"
            " refs/main names; expected the path of one of them"
        )
    return found[0]


def model_folder(path: Path) -> Path:
    """The folder of a Hugging Face model that has its configuration and vocabulary.

    sentence-transformers put it into a folder of its own before 2022, which modules.json names:
    0_Transformer or 0_BERT.
    """
    try:
        modules = json.loads((path / MODULES).read_text(encoding="utf-8"))
        inside = path / Path(str(modules[0]["path"])).name
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        inside = next(iter(sorted(path.glob("0_*/"))), path)
    signs = ("config.json", "vocab.txt", "tokenizer.json")
    return inside if any((inside / name).is_file() for name in signs) else path


def check_fetched(file: Path) -> None:
    """Refuse a file that only stands for one that was not fetched.

    Raises:
        UserError: it is a pointer of Git LFS, or a link that leads nowhere.
    """
    try:
        leads_nowhere = file.is_symlink() and not file.exists()
    except OSError:  # such as a name that is too long
        return
    if leads_nowhere:
        raise UserError(
            f"got {file}, a link to {file.readlink()}, which does not exist; expected the file"
            " itself: a copy of a folder of the hub's cache needs its blobs, too"
        )
    try:
        with file.open("rb") as opened:
            start = opened.read(200)
    except OSError:
        return  # who reads it says so
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        size = re.search(rb"^size (\d+)$", start, re.MULTILINE)
        raise UserError(
            f"got {file}, which is a pointer of Git LFS and not the file"
            + (f" of {int(size[1]):,} bytes" if size else "")
            + "; expected the file: run `git lfs pull` where it was cloned"
        )


def here_or_inside(patterns: Sequence[str]) -> tuple[str, ...]:
    """Patterns of files of a model, also where `model_folder` may find them."""
    return (*patterns, *(f"0_*/{pattern}" for pattern in patterns))


def is_path(source: str | os.PathLike[str]) -> bool:
    """Whether `locate` finds something on disk or in a bucket and does not ask the hub.

    Raises:
        UserError: what is neither a path nor a name.
    """
    path_like("source", source, "the path of a checkpoint, or a name on the Hugging Face hub")
    if is_url(source):
        return True
    path = Path(source).expanduser()
    return path.exists() or find_google(path) is not None


def find_ours(path: Path) -> Path | None:
    """The checkpoint of ours that `path` is, or the newest one of the run whose workdir it is.

    runs/pretrain/checkpoints/450   itself
    runs/pretrain/checkpoints       450, the highest number
    runs/pretrain                   checkpoints/450
    """
    if (path / "embeddings").is_dir() and (path / "config" / "data.json").is_file():
        return path
    for directory in (path / "checkpoints", path):
        if directory.is_dir():
            steps = [p for p in directory.iterdir() if p.name.isdecimal() and find_ours(p)]
            if steps:
                return max(steps, key=lambda p: int(p.name))
    return None


def is_workdir(path: Path) -> bool:
    """Whether a folder's config.json has the settings of a run of ours, and so is of no model."""
    try:
        settings = json.loads((path / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(settings, dict) and {"log_every", "learning_rate"} <= settings.keys()


def find_google(path: Path) -> Path | None:
    """The prefix of Google's that `path` is, or the newest one in the directory it is."""
    if path.name and path.with_name(path.name + ".index").is_file():
        return path
    if path.name.endswith(".index") and path.is_file():
        return path.with_suffix("")
    if path.is_dir() and (path / "bert_config.json").is_file():
        found = [p.with_suffix("") for p in path.glob("*.index")]
        return max(found, key=_step, default=None)
    return None


def _step(prefix: Path) -> tuple[int, str]:
    """model.ckpt-20 is newer than model.ckpt-3; bert_model.ckpt is where both began."""
    number = prefix.name.rpartition("-")[2]
    return (int(number) if number.isdecimal() else -1, prefix.name)


def _is_local(name: str, near: Path | None) -> bool:
    """Whether a name that the hub might have is meant as a path all the same."""
    owner, slash, _ = name.partition("/")
    return bool(
        _FILE_ENDING.search(name)
        or (slash and Path(owner).is_dir())
        or (near is not None and _is_one_slip_from(name, near))
    )


def _is_one_slip_from(name: str, near: Path) -> bool:
    parts = Path(name).parts
    return len(parts) == len(near.parts) and all(map(_one_slip, parts, near.parts))


def _one_slip(one: str, other: str) -> bool:
    """Whether a letter is wrong, missing or one too many, or two are swapped; equal ones too.

    Letters alone: run1 and run2, bert_base and bert-base are two names, not one mistyped.
    """
    start = _shared(one, other)
    one, other = one[start:], other[start:]
    end = _shared(one[::-1], other[::-1])
    one, other = one[: len(one) - end], other[: len(other) - end]
    few = max(len(one), len(other)) <= 1 or (len(one) == 2 and one == other[::-1])
    return few and all(map(str.isalpha, one + other))


def _shared(one: str, other: str) -> int:
    """How many letters two words begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _nearby(path: Path) -> Path | None:
    """The path most like one that is not there: each part that is missing, by the nearest name."""
    found = Path(path.anchor)
    for part in path.parts[1 if path.anchor else 0 :]:
        if not (found / part).exists():
            try:
                names = [entry.name for entry in found.iterdir()]
            except OSError:
                return None
            close = difflib.get_close_matches(part, names, n=1, cutoff=0.7)
            if not close:
                return None
            part = close[0]
        found /= part
    return found
