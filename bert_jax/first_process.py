"""What the first of several processes does for all: it alone reads and writes a run's checkpoints.

    process 0    reads, decides, writes   ── tells ──▶   the others, which wait for it

So no other needs a file system that it shares with process 0. What goes wrong there is said there,
and ends the others, too. A single process does all of this as if it were not here.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from orbax.checkpoint import multihost

from bert_jax.errors import LostProcessError, UserError

T = TypeVar("T")

_DAY = 24 * 3600 * 1000  # milliseconds
_FAILED = ""  # is no JSON
_turns = itertools.count()  # of process 0 to tell something: all processes count the same ones


class FirstProcessError(UserError):
    """What process 0 cannot do, in its own words, and all others know: none waits for another."""

    def __init__(self, error: UserError) -> None:
        super().__init__(str(error))
        self.passing = error.passing


def is_first() -> bool:
    """Whether this process writes, prints and decides: one of them does."""
    return jax.process_index() == 0


def told_by_first(what: str, act: Callable[[], T]) -> T:
    """What `act` gives in process 0, which alone calls it, in every process.

        step = told_by_first("newest checkpoint", lambda: newest(workdir))

    Args:
        what: comes of it, for a message.
        act: gives something that JSON can hold, and does not let process 0 tell anything itself.

    Raises:
        FirstProcessError: in process 0, a user's mistake or a full disk.
        LostProcessError: in the others, for the same reason.
    """
    if jax.process_count() == 1:
        return act()
    key = _next_key()
    if not is_first():
        return json.loads(_heard(key, what))
    with _failing_together(key):
        value = act()
        said = json.dumps(value)
    _say(key, said)
    return value


def done_by_first(what: str, act: Callable[[], T]) -> T | None:
    """What `act` gives in process 0, which alone calls it; the others wait, and have None.

    Args:
        what, act: as for `told_by_first`, but that it may give anything.

    Raises:
        FirstProcessError, LostProcessError: as for `told_by_first`.
    """
    given: list[T] = []
    told_by_first(what, lambda: given.append(act()))
    return given[0] if given else None


@contextmanager
def first_before_others(what: str) -> Iterator[Callable[[], None]]:
    """Let process 0 do something while the others wait, and then the others.

        with first_before_others("the corpus") as done:
            …               # process 0 makes what the others will find
            done()          # now the others enter
            …               # together

    Raises:
        FirstProcessError: in process 0, where it left before it was done.
        LostProcessError: in the others, for the same reason.
    """
    if jax.process_count() == 1:
        yield lambda: None
        return
    key, told = _next_key(), False
    if not is_first():
        _heard(key, what)
        yield lambda: None
        return

    def done() -> None:
        nonlocal told
        if not told:
            _say(key, json.dumps(None))
        told = True

    try:
        yield done
    except BaseException:
        if told:
            raise
        with _failing_together(key):
            raise
    done()


def sent_by_first(tree: T | None, like: T) -> T:
    """Arrays that process 0 has, in every process, bit for bit, one after the other.

    Args:
        tree: of numpy arrays in process 0; None in the others. A single process has them in place.
        like: a tree of the same shapes; arrays or `jax.ShapeDtypeStruct` with shardings, which
            say where every process puts its part.
    """
    if jax.process_count() == 1:
        assert tree is not None
        return tree
    if tree is None:
        return jax.tree.map(partial(_sent, None), like)
    return jax.tree.map(_sent, tree, like)


def gathered_by_first(tree: T) -> T:
    """Arrays cut over processes, whole, in the memory of process 0; None for each in the others.

    No device holds more than one whole array at a time. A single process keeps them where they are.
    """
    return tree if jax.process_count() == 1 else jax.tree.map(_gathered, tree)


def _sent(leaf: np.ndarray | None, like: Any) -> jax.Array:
    # jax sums over the processes: of numbers, -0.0 and NaNs would come out as others.
    bits = np.dtype(f"uint{8 * like.dtype.itemsize}")
    mine = np.zeros(like.shape, bits) if leaf is None else leaf.view(bits)
    whole = np.asarray(multihost_utils.broadcast_one_to_all(mine)).view(like.dtype)
    return jax.make_array_from_callback(like.shape, like.sharding, lambda place: whole[place])


def _gathered(leaf: jax.Array) -> np.ndarray | None:
    if not leaf.is_fully_replicated:
        assert isinstance(leaf.sharding, NamedSharding)
        everywhere = NamedSharding(leaf.sharding.mesh, P())
        leaf = jax.block_until_ready(jax.jit(_same, out_shardings=everywhere)(leaf))
    return np.array(leaf.addressable_data(0)) if is_first() else None  # a copy: steps donate


def _same(array: jax.Array) -> jax.Array:
    return array


def _next_key() -> str:
    return f"bert_jax/{next(_turns)}"


def _say(key: str, words: str) -> None:
    multihost.get_jax_distributed_client().key_value_set(key, words)


def _heard(key: str, what: str) -> str:
    words = multihost.get_jax_distributed_client().blocking_key_value_get(key, _DAY)
    if words == _FAILED:
        raise LostProcessError(f"got no {what} from process 0; expected its message to say why")
    return words


@contextmanager
def _failing_together(key: str) -> Iterator[None]:
    """Tell the others what process 0 cannot do."""
    try:
        yield
    except BaseException as error:
        _say(key, _FAILED)
        if isinstance(error, UserError):
            raise FirstProcessError(error) from error
        raise
