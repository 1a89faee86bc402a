"""An audit on disk: a line of figures now and then, and what is known of every row."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from bert_jax.disk import sync
from bert_jax.errors import DamagedFileError
from bert_jax.file_digests import read_vouching, write_vouching
from bert_jax.parameters import token_table
from bert_jax.training.assembly import Pretrainer
from bert_jax.training.callbacks import Callback
from bert_jax.training.loop import EventSchedule
from bert_jax.training.metrics import append_line, drop_after
from bert_jax.training.state import TrainState
from bert_jax.training.update_audit import Audit, audit_summary
from bert_jax.whole_file import whole_file


class AuditLog:
    """Appends to `workdir/audit.jsonl` and rewrites `workdir/audit.npz`.

    Args:
        workdir: an existing directory.
        initial: [V, D], the token table before the first step.
        start: the step the run continues from; what a killed run wrote beyond it is dropped.
    """

    def __init__(self, workdir: str | Path, initial: np.ndarray, start: int = 0):
        self._lines, self._arrays = Path(workdir) / "audit.jsonl", Path(workdir) / "audit.npz"
        self._initial = initial
        drop_after(self._lines, start)

    def write(self, step: int, audit: Audit, table: jax.Array) -> None:
        """One line, `{"step": …}` and the figures of `audit_summary`; and the arrays.

        Args:
            step: updates applied.
            audit: of the state after them.
            table: [V, D], the token table after them.
        """
        fetched, now = jax.device_get((audit, table))
        line = {"step": step, **audit_summary(fetched, now, self._initial)}
        append_line(self._lines, line)
        sync(self._lines)
        drift = np.linalg.norm(now - self._initial, axis=1)
        with whole_file(self._arrays) as partial:
            np.savez(partial, allow_pickle=False, drift=drift, **dataclasses.asdict(fetched))


def initial_table(
    step: int, begin: Callable[[], np.ndarray], workdir: Path, before: Sequence[Path] = ()
) -> np.ndarray:
    """The token table before the first step, kept in `workdir/audit_start.npy`.

    A run that goes on cannot make it again: what it started from may be gone.

    Args:
        step: where the run is.
        begin: makes the table anew.
        workdir: of the run.
        before: workdirs of the runs it branched off.
    """
    kept = [place / "audit_start.npy" for place in (workdir, *before)]
    if step > 0:
        for file in kept:
            if file.is_file():
                return _loaded(file)
    table = begin()
    if step == 0:
        with whole_file(kept[0]) as partial:
            np.save(partial, table, allow_pickle=False)
        write_vouching(kept[0].with_suffix(".json"), {}, [kept[0].name])
    return table


def _loaded(file: Path) -> np.ndarray:
    remedy = "take a copy, or another workdir"
    if (beside := file.with_suffix(".json")).is_file():
        read_vouching(beside, remedy)
    try:
        return np.load(file, allow_pickle=False)
    except (ValueError, EOFError, SyntaxError) as error:  # of before there were digests
        raise DamagedFileError(file, f"it is not an array: {error}", remedy) from error


class AuditUpdates(Callback):
    """Writes the audit of a run down every so many steps, and after the last.

    Args:
        run: made with an `audit_mask_id`.
        initial: [V, D], the token table before the first step of the run.
        directory: an existing one.
        schedule: knows the last step.
        every: steps between two lines.
    """

    def __init__(
        self,
        run: Pretrainer,
        initial: np.ndarray,
        directory: str | os.PathLike[str],
        schedule: EventSchedule,
        every: int,
    ):
        self._run, self._initial, self._directory = run, initial, Path(directory)
        self._schedule, self._every = schedule, every

    def on_train_begin(self, step: int) -> None:
        """Drop the lines beyond `step`."""
        self._log = AuditLog(self._directory, self._initial, step)

    def on_update(self, step: int, state: TrainState) -> None:
        """Write a line and the arrays."""
        if self._schedule.due(self._every, step):
            own = self._run.cut(state)  # padding is nobody's row
            self._log.write(step, own.opt_state.audit, token_table(own.params))
