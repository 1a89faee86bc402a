"""How much memory this process has held, and whether what is asked for fits the machine's."""

import os
import sys
from pathlib import Path

from bert_jax.config import BertConfig
from bert_jax.errors import UserError

try:
    import resource
except ImportError:  # Windows has no such module
    resource = None  # type: ignore[assignment]


def peak_rss_bytes(workers: int = 0) -> int:
    """The most memory this process has held so far, and `workers` times the greediest child's.

    0 where the system does not say.
    """
    if resource is None:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return unit * (own + child * workers)


def check_fits(needed: int, got: str) -> None:
    """Refuse, before anything is allocated, what the machine's memory cannot hold.

        check_fits(4 * rows * width, f"positions={rows}")

    Args:
        needed: bytes, at the least.
        got: what needs them, as a `UserError` says it.

    Raises:
        UserError: the machine has less.
    """
    whole = machine_bytes()
    if whole is not None and needed > whole:
        raise UserError(
            f"got {got}, which takes at least {needed / 2**30:,.1f} GiB of memory; expected what"
            f" fits the {whole / 2**30:,.1f} GiB of this machine"
        )


def check_sizes(config: BertConfig, rows: int, length: int) -> None:
    """Refuse a model to be trained, or its batches, where the machine's memory cannot hold them.

    Counted is what they take at the very least: the weights once, and `check_batch`.

    Raises:
        UserError: it cannot.
    """
    sizes = f"vocab_size={config.vocab_size} and hidden_size={config.hidden_size}"
    check_fits(config.least_bytes, sizes)
    check_batch(rows, length, config.hidden_size, f"batch_size={rows}")


def check_batch(rows: int, length: int, width: int, got: str) -> None:
    """Refuse a batch of which the ids and one layer's states would not fit the machine's memory.

    Args:
        rows, length: of the batch, in tokens.
        width: of the states.
        got: as of `check_fits`.

    Raises:
        UserError: they would not.
    """
    check_fits(4 * rows * length * (_ARRAYS_OF_A_BATCH + width), got)


def check_pieces(pieces: int, name: str) -> None:
    """Refuse a vocabulary of which the strings alone would not fit the machine's memory.

    Raises:
        UserError: they would not.
    """
    check_fits(pieces * _LEAST_OF_A_PIECE, f"{name}={pieces}")


def check_workers(workers: int, name: str = "workers") -> None:
    """Refuse more processes or threads than the machine's memory can hold at the least.

    Raises:
        UserError: it cannot.
    """
    check_fits(workers * _LEAST_OF_A_WORKER, f"{name}={workers}")


def machine_bytes() -> int | None:
    """The memory of this machine, or of the container; None where the system does not say."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    for file in _CONTAINER_LIMITS:
        text = file.read_text(encoding="ascii").strip() if file.is_file() else "max"
        whole = min(whole, int(text) if text.isdecimal() else whole)
    return whole


_ARRAYS_OF_A_BATCH = 5  # ids, segments, positions, instances, attention
_LEAST_OF_A_WORKER = 32 << 20  # a Python with NumPy
_LEAST_OF_A_PIECE = 128  # a Python string, and its places in a list and in a dict
_CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
