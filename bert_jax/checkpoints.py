"""The checkpoints of a run: orbax, asynchronous and atomic, the newest and the best kept.

    checkpoints/
      400/   600/       one checkpoint each, see `checkpoint_files`
      500.damaged/      one that did not hold what was written when the run was continued

A checkpoint is renamed into place when it is whole: one that is listed can be read.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import jax
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
    ):
        if keep < 1:
            raise UserError(f"got keep={keep} checkpoints; expected at least 1")
        policies = ocp.training.preservation_policies
        self._checkpointer = ocp.training.Checkpointer(
            SyncedPath(Path(directory).absolute()),
            context=orbax_context(),
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
        self._json = json_items(config, vocabulary, head)
        self._best_metric, self._highest = best_metric, highest
        self._writing: ocp.AsyncResponse[bool] | None = None
        self._asked = _Asked(0, 0, frozenset())
        self._failed = False
        logging.getLogger("absl").addFilter(_is_not_of_orbax)  # what goes wrong is raised, too

    def latest_step(self) -> int | None:
        """The newest whole checkpoint, or None."""
        self.wait()
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    def best_step(self) -> int | None:
        """Of the checkpoints kept, that with the best figure; None where none has one."""
        self.wait()
        figures = [
            (found.metrics[self._best_metric] * (-1 if self._highest else 1), found.step)
            for found in self._checkpointer.checkpoints
            if found.metrics
        ]
        return min(figures)[1] if figures else None

    def save(self, state: State, metrics: Mapping[str, float] | None = None) -> None:
        """Start writing `state`; returns when its arrays are copied, not when they are written."""
        self.wait()  # an earlier save that nobody waits for keeps its thread and its files
        step = int(state.step)
        rest, embeddings = take_embeddings(state)
        arrays = {"state": rest, "embeddings": embeddings}
        items = {**arrays, **self._json, "digests": digests_of(state, self._json)}
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        self._asked = _Asked(step, size, frozenset(items))
        with self._one_line():
            self._writing = self._checkpointer.save_checkpointables_async(
                step, items, metrics=dict(metrics) if metrics else None
            )

    def restore(self, like: S, step: int | None = None) -> S:
        """The state at `step` (default: the newest), placed as `like` is.

        Args:
            like: a state of the same shapes; arrays or `jax.ShapeDtypeStruct` with shardings.

        Raises:
            UserError: there is none.
            DamagedCheckpointError: it is not what was written.
        """
        self.wait()
        step = self.latest_step() if step is None else step
        if step is None:
            raise UserError(f"got no checkpoint in {self._checkpointer.directory}; expected one")
        load = partial(self._checkpointer.load_checkpointables, step)
        return restored(load, self.path(step), like)

    def wait(self) -> None:
        """Wait until the checkpoint that was started last is whole, and on the disk.

        Raises:
            DiskError: it cannot be written; says which is the last good one.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            with self._one_line():
                writing.result()

    def path(self, step: int) -> Path:
        """Where the checkpoint of `step` lies."""
        return Path(self._checkpointer.directory) / str(step)

    def close(self) -> None:
        """Wait until everything that was started is written."""
        try:
            self.wait()
        finally:
            with suppress(Exception) if self._failed else nullcontext():
                self._checkpointer.close()
            logging.getLogger("absl").removeFilter(_is_not_of_orbax)

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._failed = True
            path, needed = self.path(self._asked.step), self._asked.size
            partials = list(path.parent.glob(f"{path.name}.orbax-checkpoint-tmp*"))
            there = {item.name.partition(".")[0] for each in partials for item in each.glob("*")}
            for each in partials:
                shutil.rmtree(each, ignore_errors=True)
            whole = whole_steps(path.parent)
            way_out = ", and the same command again: "
            way_out += f"it goes on from {self.path(whole[-1])}" if whole else "it begins anew"
            refused = disk_error(
                path,
                error,
                needed=room_of(self.path(whole[-1])) if whole else needed,
                gone=not self._asked.items <= there,
                way_out=way_out,
            )
            if refused is None:
                raise
            raise refused from error


def damaged_checkpoints(directory: str | Path) -> dict[Path, str]:
    """What is wrong with a run's newest checkpoints, up to the newest whole one, newest first.

    Of several processes every one must look: orbax counts what each reads, and waits for those that
    have read less.

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


def _is_not_of_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in Path(record.pathname).parts


def set_aside(damaged: Mapping[Path, str]) -> None:
    """Rename damaged checkpoints to `STEP.damaged`, and say so; for one process of several.

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
