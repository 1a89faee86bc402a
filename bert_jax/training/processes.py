"""Several processes, one run: joining, stopping together, failing together.

    host 0   process 0   devices 0 1 2 3   rows 0 … B/2-1   writes metrics, prints
    host 1   process 1   devices 4 5 6 7   rows B/2 … B-1
             each reads its own rows; process 0 has the checkpoints (`bert_jax.first_process`)

The batches are a function of (corpus, seed, step), so the number of processes may change whenever
a run is continued.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import jax
import numpy as np
from jax._src.distributed import global_state  # multihost_utils has no other way to this, either
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from orbax.checkpoint import multihost

from bert_jax.errors import DiskError, LostProcessError, UserError
from bert_jax.first_process import FirstProcessError
from bert_jax.training.loop import NotFiniteError
from bert_jax.training.lost_process import lost_message, say_when_aborted
from bert_jax.training.sharding import BATCH
from bert_jax.waiting import Waiting, meanwhile

# A process that is silent for so long is lost; the others then end. jax waits 100 s.
HEARTBEAT_SECONDS = 15
JOIN_SECONDS = 300


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
        UserError: some are missing or impossible, or the platform says nothing.
        LostProcessError: the others do not come.
    """
    given = (coordinator, processes, process_id)
    if distributed and any(value is not None for value in given):
        raise UserError(
            "got `distributed` with `coordinator`, `processes` or `process_id`; expected either"
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
    # It takes SIGTERM to itself, and tells nobody before all ask: see `stop_together`.
    jax.config.update("jax_enable_preemption_service", False)
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
            kind = UserError if isinstance(error, ValueError) else LostProcessError
            raise kind(
                f"got no connection between the processes ({str(error).splitlines()[0]}); expected"
                " a platform that names them, or `coordinator`, `processes` and `process_id`"
            ) from error
        say_when_aborted()
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
    waiting = Waiting(f"process 0 at {host}:{port}", JOIN_SECONDS)
    while True:
        try:
            socket.create_connection((host, port), timeout=5).close()
            return
        except OSError as error:
            waiting.say()
            if waiting.is_over:
                raise LostProcessError(
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

    def watch(over: threading.Event) -> None:
        waiting, answered = Waiting("the other processes", JOIN_SECONDS), time.monotonic()
        while not over.wait(1.0):
            waiting.say()
            with suppress(OSError):
                if first is not None:
                    socket.create_connection(first, timeout=1).close()
                answered = time.monotonic()
            if time.monotonic() > answered + HEARTBEAT_SECONDS:
                _leave("got no more answer from process 0; expected its message to say why")
            if waiting.is_over:
                _leave(
                    f"got not all processes in {JOIN_SECONDS} s; expected each to be started at"
                    " about the same time, with the same `coordinator` and `processes`"
                )

    with meanwhile(watch):
        yield


def _leave(message: str, status: int = 1, *, together: bool = False) -> NoReturn:
    """End at once, whatever threads are left; `together`, when all the others leave, too."""
    with suppress(OSError):  # of a terminal that has gone
        print(message, file=sys.stderr, flush=True)
    with suppress(Exception):
        if together:
            logging.disable()  # orbax's threads find that they wait in vain
            jax.distributed.shutdown()
    os._exit(status)


def _connect() -> None:
    """Let the processes meet, then open their connections.

    On CPUs a collective connects at its first use and gives up after 30 s, which is less than one
    process may be behind another.
    """
    client = multihost.get_jax_distributed_client()
    client.wait_at_barrier("bert_jax_joined", timeout_in_ms=600_000)
    multihost_utils.sync_global_devices("bert_jax_connected")


def host_rows(batch_size: int, mesh: Mesh) -> np.ndarray:
    """The rows of the global batch that lie on this process's devices, in order.

    data:2,tensor:2 on two hosts of two devices each: host 0 has rows 0 … B/2 - 1, or, where the
    tensor axis crosses hosts, all of them. On a torus a host's devices are a square of it, and its
    rows need not be consecutive.
    """
    sharding: Any = NamedSharding(mesh, BATCH)  # whose devices' type mypy does not know
    places, me = sharding.devices_indices_map((batch_size,)), jax.process_index()
    mine = [place for device, place in places.items() if device.process_index == me]
    return np.unique([np.arange(batch_size)[place] for place in mine])


def stop_together(step: int) -> bool:
    """Whether all processes stop after `step` updates, since one of them got SIGTERM.

    To be asked after every step, by all; True at the same step everywhere. Before it is asked for
    the first time there is nothing to save, and SIGTERM ends a process as it ends any other.
    """
    if global_state.preemption_sync_manager is None:
        jax.config.update("jax_enable_preemption_service", True)
        global_state.initialize_preemption_sync_manager()
    return multihost_utils.reached_preemption_sync_point(step)


@contextmanager
def fail_together() -> Iterator[None]:
    """End this process at once where it cannot go on, so that the others find out.

    A process that leaves in the usual way waits for the others, which wait for it; and after a
    checkpoint that a disk refuses, for threads of orbax that wait for a folder that never comes.
    """
    try:
        yield
    except (UserError, NotFiniteError, KeyboardInterrupt) as error:
        known = isinstance(error, FirstProcessError)  # to the others, which leave as well
        refused = error.__cause__ if known else error
        if not isinstance(refused, DiskError) or jax.process_count() == 1:
            raise
        _leave(str(error), status=1 if refused.passing else 2, together=known)
    except Exception as error:
        if jax.process_count() == 1:
            raise
        if (message := lost_message(error)) is not None:
            _leave(message)
        with suppress(OSError):
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(1)
