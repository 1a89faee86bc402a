"""The checkpoints of a run: orbax, asynchronous and atomic, the newest and the best kept.

    checkpoints/
      400/   600/       one checkpoint each, see `checkpoint_files`
      500.damaged/      one that did not hold what was written when the run was continued

A checkpoint is renamed into place when it is whole: one that is listed can be read. Of several
processes the first alone sees the directory; every call is one of all processes.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from unittest import mock

import jax
from orbax.checkpoint import checkpoint_manager
from orbax.checkpoint import v1 as ocp

from bert_jax.checkpoint_files import (
    DamagedCheckpointError,
    S,
    State,
    SyncedPath,
    damage_of,
    digests_of,
    json_items,
    orbax_context,
    restored,
    take_embeddings,
)
from bert_jax.disk import disk_error, room_of
from bert_jax.errors import UserError
from bert_jax.first_process import done_by_first, gathered_by_first, told_by_first
from bert_jax.waiting import said_while

T = TypeVar("T")

BEST_METRIC = "heldout_mlm_loss"


@dataclasses.dataclass(frozen=True)
class _Asked:
    """The checkpoint that is being written: its step, bytes and items."""

    step: int
    size: int
    items: frozenset[str]


class Checkpoints:
    """The checkpoints of one run, in one directory.

    Args:
        directory: made where absent.
        keep: the newest `keep` are kept, and the best one.
        config: `BertConfig` as a JSON-able dict, written into every checkpoint.
        vocabulary: a JSON-able dict with at least `pieces` and `hash`, likewise.
        head: of a fine-tuned model, a dict with `architecture` (Hugging Face's name of the class)
            and `labels`, likewise; None for pretraining.
        best_metric: which of the held-out figures tells the best checkpoint.
        highest: whether the best is that with the highest figure, and not the lowest.
        publish: called when a checkpoint is whole, beside the training, to send it elsewhere; one
            is saved when that is done.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        keep: int,
        config: Mapping[str, Any],
        vocabulary: Mapping[str, Any],
        head: Mapping[str, Any] | None = None,
        best_metric: str = BEST_METRIC,
        highest: bool = False,
        publish: Callable[[], None] | None = None,
    ):
        if keep < 1:
            raise UserError(f"got keep={keep} checkpoints; expected at least 1")
        self._directory = Path(directory).absolute()
        self._json = json_items(config, vocabulary, head)
        self._store = done_by_first(
            "folder for checkpoints",
            lambda: _Store(self._directory, keep, best_metric, highest, publish),
        )

    def latest_step(self) -> int | None:
        """The newest whole checkpoint, or None."""
        return self._told("newest checkpoint", _Store.latest_step)

    def best_step(self) -> int | None:
        """Of the checkpoints kept, that with the best figure; None where none has one."""
        return self._told("best checkpoint", _Store.best_step)

    def save(self, state: State, metrics: Mapping[str, float] | None = None) -> None:
        """Start writing `state`; returns when its arrays are copied, not when they are written.

        Raises:
            DiskError: this one or the one before cannot be written; says which is the last good
                one. (Of several processes, here and elsewhere, what `told_by_first` raises.)
        """
        self.wait()  # an earlier save that nobody waits for keeps its thread and its files
        found = digests_of(state, self._json)
        rest, embeddings = take_embeddings(gathered_by_first(state))
        items = {"state": rest, "embeddings": embeddings, **self._json, "digests": found}
        asked = _Asked(
            step=int(state.step),
            size=sum(leaf.nbytes for leaf in jax.tree.leaves(state)),
            items=frozenset(items),
        )
        self._told("checkpoint", lambda store: store.begin(asked, items, metrics))

    def restore(self, like: S, step: int | None = None) -> S:
        """The state at `step` (default: the newest), placed as `like` is.

        Args:
            like: a state of the same shapes; arrays or `jax.ShapeDtypeStruct` with shardings.

        Raises:
            UserError: there is none.
            DamagedCheckpointError: it is not what was written.
        """
        latest = self.latest_step()
        step = latest if step is None else step
        if step is None:
            raise UserError(f"got no checkpoint in {self._directory}; expected one")
        return restored(lambda wanted: self._own().load(step, wanted), self.path(step), like)

    def wait(self) -> None:
        """Wait until the checkpoint that was started last is whole, and on the disk.

        Raises:
            DiskError: it cannot be written; says which is the last good one.
        """
        self._told("checkpoint", _Store.wait)

    def path(self, step: int) -> Path:
        """Where the checkpoint of `step` lies."""
        return self._directory / str(step)

    def close(self) -> None:
        """Wait until everything that was started is written; of several processes, the first."""
        if self._store is not None:
            self._store.close()

    def _told(self, what: str, act: Callable[[_Store], T]) -> T:
        return told_by_first(what, lambda: act(self._own()))

    def _own(self) -> _Store:
        assert self._store is not None  # in process 0
        return self._store


class _Store:
    """What orbax does in the one process that has the directory."""

    def __init__(
        self,
        directory: Path,
        keep: int,
        best_metric: str,
        highest: bool,
        publish: Callable[[], None] | None,
    ):
        policies = ocp.training.preservation_policies
        directory.mkdir(parents=True, exist_ok=True)
        with _no_root_made():
            self._checkpointer = ocp.training.Checkpointer(
                SyncedPath(directory),
                context=orbax_context(alone=True),
                save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
                preservation_policy=policies.AnyPreservationPolicy(
                    [
                        policies.LatestN(keep),
                        policies.BestN(
                            get_metric_fn=lambda metrics: metrics[best_metric],
                            reverse=not highest,
                            n=1,
                            keep_checkpoints_without_metrics=False,
                        ),
                    ]
                ),
                cleanup_tmp_directories=True,
            )
        self._directory, self._best_metric, self._highest = directory, best_metric, highest
        self._publish = publish
        self._writing: ocp.AsyncResponse[bool] | None = None
        self._sending: Future[None] | None = None
        self._asked = _Asked(0, 0, frozenset())
        self._failed = False
        logging.getLogger("absl").addFilter(_is_not_of_orbax)  # what goes wrong is raised, too
        self._hooks = _Hooks()

    def latest_step(self) -> int | None:
        self.wait()
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    def best_step(self) -> int | None:
        self.wait()
        figures = [
            (found.metrics[self._best_metric] * (-1 if self._highest else 1), found.step)
            for found in self._checkpointer.checkpoints
            if found.metrics
        ]
        return min(figures)[1] if figures else None

    def begin(
        self, asked: _Asked, items: Mapping[str, Any], metrics: Mapping[str, float] | None
    ) -> None:
        self._asked = asked
        with self._one_line():
            self._writing = self._checkpointer.save_checkpointables_async(
                asked.step, dict(items), metrics=dict(metrics) if metrics else None
            )
        if self._publish is not None:
            pool = ThreadPoolExecutor(1, "publish")
            self._sending = pool.submit(self._send)
            pool.shutdown(wait=False)

    def load(self, step: int, wanted: dict[str, Any]) -> dict[str, Any]:
        return self._checkpointer.load_checkpointables(step, wanted)

    def wait(self) -> None:
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.result()
        self._written()

    def _send(self) -> None:
        assert self._publish is not None
        self._written()
        self._publish()

    def _written(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            with self._one_line(), said_while(f"checkpoint {self._asked.step} to be written"):
                writing.result()

    def close(self) -> None:
        try:
            self.wait()
        finally:
            with suppress(Exception) if self._failed else nullcontext():
                self._checkpointer.close()
            if not self._failed:  # else other threads of the save come later than this
                self._hooks.restore()
                logging.getLogger("absl").removeFilter(_is_not_of_orbax)

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._failed = True
            path, needed = self._directory / str(self._asked.step), self._asked.size
            partials = list(path.parent.glob(f"{path.name}.orbax-checkpoint-tmp*"))
            there = {item.name.partition(".")[0] for each in partials for item in each.glob("*")}
            for each in partials:
                shutil.rmtree(each, ignore_errors=True)
            whole = [self._directory / str(step) for step in whole_steps(self._directory)]
            way_out = ", and the same command again: "
            way_out += f"it continues from {whole[-1]}" if whole else "it starts over"
            refused = disk_error(
                path,
                error,
                needed=room_of(whole[-1]) if whole else needed,
                gone=not self._asked.items <= there,
                way_out=way_out,
            )
            if refused is None:
                raise
            raise refused from error


def _no_root_made() -> AbstractContextManager[Any]:
    """Keep orbax from making the root of checkpoints: it refuses to for one process of several.

    Its newer API has no other way to say that the root is there.
    """
    return mock.patch.object(checkpoint_manager, "_create_root_directory")


def damaged_checkpoints(directory: str | Path) -> dict[Path, str]:
    """What is wrong with a run's newest checkpoints, up to the newest whole one, newest first.

    Args:
        directory: of a run's checkpoints; may be absent.

    Raises:
        DamagedCheckpointError: none is whole.
    """
    damaged: dict[Path, str] = {}
    for step in reversed(whole_steps(directory)):
        path = Path(directory) / str(step)
        if (reason := damage_of(path)) is None:
            return damaged
        damaged[path] = reason
    for path, reason in damaged.items():
        raise DamagedCheckpointError(path, reason)
    return {}


def whole_steps(directory: str | Path) -> list[int]:
    """The steps of the checkpoints in a directory, which may be absent; the newest last."""
    paths = Path(directory).glob("*")
    return sorted(int(path.name) for path in paths if path.name.isdecimal() and path.is_dir())


class _Hooks:
    """Leave out what tensorstore says of a save that failed; the rest is told as before.

    Of its arrays one could not be written, and that is raised; the others find nobody who waits,
    and call asyncio from C++, where no frame of ours is: in whichever thread that may be. What
    Python then says goes to the one hook or to the other.
    """

    def __init__(self) -> None:
        self._except, sys.excepthook = sys.excepthook, self._but_for_closed_loops
        self._unraisable, sys.unraisablehook = sys.unraisablehook, self._unraisable_but_for_them
        # Nor that the writes which the failed one had yet to start were never started.
        unstarted = "coroutine 'async_serialize_from_host.* was never awaited"
        warnings.filterwarnings("ignore", unstarted, RuntimeWarning)

    def restore(self) -> None:
        """What others have put before these stays, and these with it."""
        if sys.excepthook == self._but_for_closed_loops:
            sys.excepthook = self._except
        if sys.unraisablehook == self._unraisable_but_for_them:
            sys.unraisablehook = self._unraisable

    def _but_for_closed_loops(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if not _is_of_closed_loop(error, trace):
            self._except(kind, error, trace)

    def _unraisable_but_for_them(self, found: sys.UnraisableHookArgs) -> None:
        if not _is_of_closed_loop(found.exc_value, found.exc_traceback):
            self._unraisable(found)


def _is_of_closed_loop(error: BaseException | None, trace: TracebackType | None) -> bool:
    outermost = trace.tb_frame.f_code.co_name if trace is not None else None
    return str(error) == "Event loop is closed" and outermost == "call_soon_threadsafe"


def _is_not_of_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in Path(record.pathname).parts


def set_aside(damaged: Mapping[Path, str]) -> None:
    """Rename damaged checkpoints to `STEP.damaged`, and say so.

    To be called before `Checkpoints` opens their directory.
    """
    for path, reason in damaged.items():
        aside = next(each for each in _asides(path) if not each.exists())
        path.rename(aside)
        print(f"{path} is damaged ({reason}); set aside as {aside.name}", file=sys.stderr)


def _asides(path: Path) -> Iterator[Path]:
    """600.damaged, and 600.damaged-2, … where a step was damaged before."""
    yield path.with_name(f"{path.name}.damaged")
    yield from (path.with_name(f"{path.name}.damaged-{n}") for n in itertools.count(2))
