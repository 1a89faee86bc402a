"""Where what a command compiles is kept, so that its next start finds it.

    ~/.cache/bert_jax/programs/x86_64-0f3c91d2/      one folder a kind of CPU
        jit_step-18a7f3…-cache      a program, as jax keeps it
        jit_step-18a7f3…-atime      when it was last used; jax writes it after the program
        jit_step-18a7f3…-digest     what the program's bytes are; ours

jax's persistent compilation cache keeps no digests: with one bit flipped on the disk a program
still loads, and ends in a segmentation fault or in other numbers. What a killed process
half-wrote, jax neither reads nor replaces. So each program is given a digest when it has been
written, and what has none, or another, is thrown away before jax looks: it is compiled again.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import jax
from absl import flags
from filelock import FileLock

from bert_jax.arguments import is_url
from bert_jax.bucket import limit_silence
from bert_jax.errors import UserError
from bert_jax.file_digests import digests_of
from bert_jax.mirror import cache_folder

flags.disclaim_key_flags()  # the flag is that of the module that asks for it

MOST_BYTES, MOST_PROGRAMS = 1 << 30, 1000
_PROGRAM, _USED, _DIGEST = "-cache", "-atime", "-digest"
_SECONDS = 10  # that jax waits for a lock, and we do
_NO_FOLDERS = {"", "on", "yes", "true", "no", "none", "false", "0", "1"}


def define_compilation_cache() -> None:
    """Define the flag of every command that compiles; `command.run` does what it says."""
    flags.DEFINE_string(
        "compilation_cache",
        None,
        "Folder for compiled programs, or off; by default ~/.cache/bert_jax, or next to the"
        " workdir when there are several processes.",
    )


def keep_programs(choice: str | None, shared_workdir: str | None = None) -> None:
    """Have jax look for programs where they are kept, and keep those that it compiles.

    Where nothing is chosen and jax was told a place itself (`JAX_COMPILATION_CACHE_DIR`), or to
    keep nothing, that is left as it is.

    Args:
        choice: a folder, "off", or None for the account's own.
        shared_workdir: of a run of several processes, or in a bucket: what all its hosts see. By
            default they find their programs beside it.

    Raises:
        UserError: the folder chosen cannot be used. Where one that nobody chose cannot be, a line
            says so, and nothing is kept.
    """
    if choice == "off":
        jax.config.update("jax_enable_compilation_cache", False)
        return
    if choice is not None and choice.lower() in _NO_FOLDERS:
        raise UserError(f"got compilation_cache={choice}; expected a folder, or off")
    told = jax.config.jax_compilation_cache_dir or not jax.config.jax_enable_compilation_cache
    if choice is None and told:
        return
    try:
        folder = os.path.join(choice or _default_root(shared_workdir), kind_of_cpu())
        if is_url(folder):  # jax reads it through etils; an object store checks what it keeps
            limit_silence()
            _use(folder, most_bytes=-1)
            return
        kept = KeptPrograms(Path(folder).absolute())
        kept.tidy()
    except (OSError, RuntimeError) as error:  # RuntimeError: nobody knows the home folder
        if choice is not None:
            reason = getattr(error, "strerror", None) or error
            raise UserError(
                f"got compilation_cache={choice}, which cannot be used ({reason}); expected a"
                " folder that can be written, or off"
            ) from error
        _say(error)
        return
    _use(str(kept.folder), MOST_BYTES)
    _after_each_program(kept.sign)


def _default_root(shared_workdir: str | None) -> str:
    if shared_workdir is not None:
        return os.path.join(os.path.dirname(shared_workdir.rstrip("/")), "compiled_programs")
    return str(cache_folder() / "programs")


@functools.cache
def kind_of_cpu() -> str:
    """The name of a folder for programs that run on this kind of CPU: what it can do is in it."""
    abilities = platform.processor()
    with suppress(OSError):
        found = re.search(r"^(flags|Features)\s*:.*$", Path("/proc/cpuinfo").read_text(), re.M)
        abilities = found[0] if found else abilities
    return f"{platform.machine()}-{hashlib.sha256(abilities.encode()).hexdigest()[:8]}"


def _use(folder: str, most_bytes: int) -> None:
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_compilation_cache_max_size", most_bytes)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@dataclass(frozen=True)
class KeptPrograms:
    """A folder of programs that jax keeps, each with its digest.

    Attributes:
        folder: absolute; made where it is absent.
    """

    folder: Path

    def tidy(self, most: int = MOST_PROGRAMS) -> None:
        """Take away what is not as it was written, and of the rest all but the `most` last used.

        jax itself keeps the bytes within bounds, and reads every name each time it writes one.

        Raises:
            OSError: the folder cannot be made, read, written or locked.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._lock():
            names = set(os.listdir(self.folder))
            keys = {name.rpartition("-")[0] for name in names if _is_ours(name)}
            whole = [key for key in keys if self._is_whole(key, names)]
            last = sorted(whole, key=lambda key: (self.folder / (key + _USED)).stat().st_mtime)
            for key in keys - set(last[-most:]):
                for suffix in (_PROGRAM, _USED, _DIGEST):
                    (self.folder / (key + suffix)).unlink(missing_ok=True)

    def sign(self) -> None:
        """Give each program that jax has written whole its digest.

        Raises:
            OSError: it cannot be written, or a program could not be.
        """
        with self._lock():
            names = set(os.listdir(self.folder))
            keys = {name.removesuffix(_PROGRAM) for name in names if name.endswith(_PROGRAM)}
            for key in keys:
                if key + _USED in names and key + _DIGEST not in names:
                    path = self.folder / (key + _DIGEST)
                    path.write_text(self._digest(key))
        if any(key + _USED not in names for key in keys):
            raise OSError(f"{self.folder} took only part of it: is the disk full?")

    def _is_whole(self, key: str, names: set[str]) -> bool:
        if not {key + _PROGRAM, key + _USED, key + _DIGEST} <= names:
            return False
        try:
            return (self.folder / (key + _DIGEST)).read_bytes() == self._digest(key).encode()
        except OSError:
            return False

    def _digest(self, key: str) -> str:
        name = key + _PROGRAM
        return digests_of(self.folder, [name])[name]

    def _lock(self) -> FileLock:
        # jax's own: whoever holds it knows that no program is half-written by a living process.
        return FileLock(self.folder / ".lockfile", timeout=_SECONDS)


def _is_ours(name: str) -> bool:
    return name.endswith((_PROGRAM, _USED, _DIGEST))


def _after_each_program(sign: Callable[[], None]) -> None:
    """Call `sign` whenever jax has written a program; where that fails say so, once."""
    written = said = False

    def on_event(event: str, **_: object) -> None:
        nonlocal written
        written = written or event == "/jax/compilation_cache/cache_misses"  # before it writes

    def on_duration(event: str, duration_secs: float, **_: object) -> None:
        nonlocal written, said
        if not written or event != "/jax/core/compile/backend_compile_duration":
            return
        written = False
        try:
            sign()
        except OSError as error:
            if not said:
                _say(error)
            said = True

    jax.monitoring.register_event_listener(on_event)
    jax.monitoring.register_event_duration_secs_listener(on_duration)
    # jax's words for the same, a warning a program.
    message = "Error (reading|writing) persistent compilation cache entry"
    warnings.filterwarnings("ignore", message)


def _say(reason: Exception) -> None:
    print(
        f"compiled programs are not saved ({reason}): the next start compiles again",
        file=sys.stderr,
    )
