"""Several processes, one run: joining, taking turns, stopping together, failing together.

    host 0   process 0   devices 0 1 2 3   rows 0 … B/2-1   writes metrics, prints
    host 1   process 1   devices 4 5 6 7   rows B/2 … B-1
             each reads its own rows, all write their part of a checkpoint

The batches are a function of (corpus, seed, step), so the number of processes may change whenever
a run is continued. All of them see one working directory (a network file system).
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from orbax.checkpoint import multihost

from bert_jax.errors import DiskError, UserError
from bert_jax.training.loop import NotFiniteError
from bert_jax.training.sharding import BATCH

# A process that is silent for so long is lost; the others then end. jax waits 100 s.
HEARTBEAT_SECONDS = 15
JOIN_SECONDS = 300
_SAY_SECONDS = 30  # between two lines that say what is waited for
_HOURS = 24 * 3600


def join_processes(
    coordinator: str | None,
    processes: int | None,
    process_id: int | None,
    *,
    distributed: bool = False,
) -> None:
    """Make this process one of many. To be called before anything asks jax for devices.

    Args:
        coordinator: `host:port` of process 0, the same in every process.
        processes: how many there are.
        process_id: which one this is, 0 … processes - 1.
        distributed: take all three from the platform's environment instead: Cloud TPU, GKE, Slurm,
            Open MPI, as `jax.distributed.initialize` finds them.

    With none of these, this is a process of its own.

    Raises:
        UserError: some are missing or impossible, the platform says nothing, or the others do not
            come.
    """
    given = (coordinator, processes, process_id)
    if distributed and any(value is not None for value in given):
        raise UserError(
            "got `distributed` beside `coordinator`, `processes` or `process_id`; expected either"
            " what the platform says or all three"
        )
    if not distributed and given == (None, None, None):
        return
    first = None
    if not distributed:
        host, port = _checked(coordinator, processes, process_id)
        if process_id:
            _await(host, port)
            first = host, port
    with _watched(first):
        try:
            jax.distributed.initialize(
                coordinator,
                processes,
                process_id,
                heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
                initialization_timeout=2 * JOIN_SECONDS,  # `_watched` ends it before
            )
        except (ValueError, RuntimeError) as error:
            raise UserError(
                f"got no connection between the processes ({str(error).splitlines()[0]}); expected"
                " a platform that names them, or `coordinator`, `processes` and `process_id`"
            ) from error
        _connect()


def _checked(
    coordinator: str | None, processes: int | None, process_id: int | None
) -> tuple[str, int]:
    """Return host and port of process 0."""
    if coordinator is None or processes is None or process_id is None:
        raise UserError(
            f"got coordinator={coordinator} processes={processes} process_id={process_id};"
            " expected all three"
        )
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(f"got coordinator={coordinator}; expected host:port, as in 10.0.0.1:8476")
    if not 0 <= process_id < processes:
        raise UserError(
            f"got process_id={process_id} of processes={processes}; expected 0 to {processes - 1}"
        )
    return host, int(port)


def _await(host: str, port: int) -> None:
    """Wait until process 0 can be reached: jax would end this process with a stack of C++."""
    began = said = time.monotonic()
    while True:
        try:
            socket.create_connection((host, port), timeout=5).close()
            return
        except OSError as error:
            said = _say(f"process 0 at {host}:{port}", began, said)
            if time.monotonic() > began + JOIN_SECONDS:
                raise UserError(
                    f"got no answer from coordinator={host}:{port} in {JOIN_SECONDS} s"
                    f" ({error.strerror or error}); expected the address of process 0, started at"
                    " about the same time"
                ) from error
            time.sleep(0.5)


@contextmanager
def _watched(first: tuple[str, int] | None) -> Iterator[None]:
    """Say that the others are waited for, and end this process where that is of no more use.

    jax waits in C++, where no exception arrives, and ends with a stack of it.

    Args:
        first: host and port of process 0, where that is another.
    """
    over = threading.Event()

    def watch() -> None:
        began = said = answered = time.monotonic()
        while not over.wait(1.0):
            said = _say("the other processes", began, said)
            with suppress(OSError):
                if first is not None:
                    socket.create_connection(first, timeout=1).close()
                answered = time.monotonic()
            if time.monotonic() > answered + HEARTBEAT_SECONDS:
                _leave("got no more answer from process 0; expected its message to say why")
            if time.monotonic() > began + JOIN_SECONDS:
                _leave(
                    f"got not all processes in {JOIN_SECONDS} s; expected each to be started at"
                    " about the same time, with the same `coordinator` and `processes`"
                )

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _say(what: str, began: float, said: float) -> float:
    """Print now and then what is waited for; returns when that was said last."""
    now = time.monotonic()
    if now < said + _SAY_SECONDS:
        return said
    print(f"waiting for {what}: {now - began:.0f} of {JOIN_SECONDS} s", file=sys.stderr, flush=True)
    return now


def _leave(message: str) -> NoReturn:
    print(message, file=sys.stderr, flush=True)
    os._exit(2)


def _connect() -> None:
    """Let the processes meet, then open their connections.

    On CPUs a collective connects at its first use and gives up after 30 s, which is less than one
    process may be behind another.
    """
    client = multihost.get_jax_distributed_client()
    client.wait_at_barrier("bert_jax_joined", timeout_in_ms=600_000)
    multihost_utils.sync_global_devices("bert_jax_connected")


def is_first() -> bool:
    """Whether this process writes metrics and prints: one of them does."""
    return jax.process_index() == 0


@contextmanager
def first_before_others(what: str) -> Iterator[Callable[[], None]]:
    """Let process 0 do something while the others wait, and then the others.

        with first_before_others("the corpus") as done:
            …               # process 0 makes what the others will find
            done()          # now the others enter
            …               # together

    Raises:
        UserError: in the others, when process 0 left before it was done.
    """
    if jax.process_count() == 1:
        yield lambda: None
        return
    client, key = multihost.get_jax_distributed_client(), f"bert_jax/{what}"
    if not is_first():
        if client.blocking_key_value_get(key, _HOURS * 1000) != "done":
            raise UserError(f"got no {what} from process 0; expected its message to say why")
        yield lambda: None
        return
    told = False

    def tell(outcome: str) -> None:
        nonlocal told
        if not told:
            client.key_value_set(key, outcome)
        told = True

    try:
        yield lambda: tell("done")
    except BaseException:
        tell("failed")
        raise
    tell("done")


def wait_for_all(what: str) -> None:
    """Wait until every process has come so far; `what` names the place, the same in all."""
    multihost_utils.sync_global_devices(f"bert_jax/{what}")


def host_rows(batch_size: int, mesh: Mesh) -> slice:
    """The rows of the global batch that lie on this process's devices.

    data:2,tensor:2 on two hosts of one device's two: host 0 has rows 0 … B/2 - 1, or, where
    the tensor axis crosses hosts, all of them.
    """
    places = NamedSharding(mesh, BATCH).addressable_devices_indices_map((batch_size,))
    rows = np.unique([np.arange(batch_size)[place] for place in places.values()])
    first, last = int(rows[0]), int(rows[-1]) + 1
    assert len(rows) == last - first  # the mesh numbers devices process by process
    return slice(first, last)


def stop_together(step: int) -> bool:
    """Whether all processes stop after `step` updates, since one of them got SIGTERM.

    To be asked after every step, by all; True at the same step everywhere.
    """
    return multihost_utils.reached_preemption_sync_point(step)


@contextmanager
def fail_together() -> Iterator[None]:
    """End this process at once where it cannot go on, so that the others find out.

    A process that leaves in the usual way waits for the others, which wait for it.
    """
    try:
        yield
    except (UserError, NotFiniteError, KeyboardInterrupt) as error:
        if not isinstance(error, DiskError) or jax.process_count() == 1:
            raise
        with suppress(OSError):  # of a terminal that has gone
            print(error, file=sys.stderr, flush=True)
        os._exit(2)
    except Exception:
        if jax.process_count() == 1:
            raise
        with suppress(OSError):
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(1)
