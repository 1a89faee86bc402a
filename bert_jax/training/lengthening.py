"""Another length for a run that is under way: allowed as long as what was computed stays the same.

    steps=450, schedule=wsd, decay=45         0 ──────── 405 ╲ 450
    steps=900, the same                       0 ─────────────────────── 855 ╲ 900
                                              ▔▔▔▔▔▔▔▔▔▔▔▔▔
    asked for at any step up to 405, the longer run is, bit for bit, one that was begun as such

A run is its batches and its learning rates, step by step. So two lengths are compared step by step,
and a run may take the other one while it stands where they still agree. Nothing here knows one
schedule from another. Shorter is as good as longer: to begin the decay now is to ask for the steps
that are done and those of the decay.

A branch is the same with the newest checkpoint replaced by one that is named: a workdir of its own
takes state and step from there, and is, bit for bit, a run that was begun with its settings.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bert_jax.checkpoint_files import DamagedCheckpointError, damage_of
from bert_jax.data.loader import phase_ends
from bert_jax.errors import UserError
from bert_jax.file_digests import write_sealed
from bert_jax.training.pretraining_settings import LENGTH, MAY_CHANGE, PretrainingSettings
from bert_jax.training.schedules import shared_updates
from bert_jax.training.workdir import read_settings


def shared_steps(first: PretrainingSettings, second: PretrainingSettings) -> int:
    """How many first steps are the same in two runs whose settings differ in `LENGTH` alone."""
    most = min(first.steps, second.steps)
    if first.steps != second.steps and first.row_masking().final_rate is not None:
        return 0  # the masking rate moves over the whole run
    ends = zip(
        phase_ends(first.row_phases(), first.steps),
        phase_ends(second.row_phases(), second.steps),
        strict=True,
    )
    batches = min((min(a, b) for a, b in ends if a != b), default=most)
    return min(batches, shared_updates(first.rate(), second.rate(), most))


def take_length(workdir: Path, settings: PretrainingSettings, done: int) -> None:
    """Let the run in `workdir` have the length of `settings`, if that changes none of its steps.

    The new length is written down, and the result of the old one taken away.

    Args:
        workdir: of a run whose other settings are the same.
        settings: what is asked for now.
        done: steps that its newest checkpoint has.

    Raises:
        UserError: the steps that are done would have been others.
    """
    saved = read_settings(workdir)
    before, changed = _before(settings, saved)
    if not changed:
        return
    shared = shared_steps(before, settings)
    if done > shared:
        raise UserError(
            f"got {_said(settings, changed)}, but the run in {workdir} was started with"
            f" {_said(before, changed)} and has done {done} steps, of which only the first {shared}"
            " would be the same; expected the same (to continue it), or another `workdir`: with"
            f" init_checkpoint={workdir}, to go on from its model with another warm-up; or with a"
            " schedule that can be lengthened (constant, or wsd before its decay)"
        )
    (workdir / "result.json").unlink(missing_ok=True)  # first: it says that a run is complete
    lengthened = {name: getattr(settings, name) for name in changed}
    write_sealed(workdir / "config.json", {**saved, **lengthened})


def check_branch(
    checkpoint: Path, settings: PretrainingSettings, record: Mapping[str, Any], workdir: Path
) -> int:
    """Check that a run with `settings` can go on from another run's checkpoint.

    Args:
        checkpoint: such as `runs/long/checkpoints/600`.
        settings: of the branch.
        record: the same as its `config.json` will hold them, with the corpus.
        workdir: of the branch.

    Returns:
        The checkpoint's step.

    Raises:
        UserError: there is no such checkpoint of a pretraining run, it is damaged, or a run with
            these settings would have been another one up to there.
    """
    file = checkpoint.parent.parent / "config.json"
    if not (checkpoint / "state").is_dir() or not checkpoint.name.isdecimal() or not file.is_file():
        raise UserError(
            f"got branch_from={checkpoint}, which is not a checkpoint in the workdir of a"
            " pretraining"
            " run; expected one, such as runs/pretrain/checkpoints/300"
        )
    if file.parent.resolve() == workdir.resolve():
        raise UserError(
            f"got branch_from={checkpoint}, which lies in the workdir itself; expected another"
            " `workdir` for the branch"
        )
    saved = {**PretrainingSettings().record(), **read_settings(file.parent)}
    free = MAY_CHANGE | LENGTH | settings.unused | {"branch_from"}
    for name in sorted((saved.keys() | record.keys()) - free):
        now = json.loads(json.dumps(record.get(name)))
        if now != saved.get(name):
            raise UserError(
                f"got {name}={now} for a branch of {checkpoint}, whose run was started with"
                f" {name}={saved.get(name)}; expected the same"
            )
    step = int(checkpoint.name)
    before, changed = _before(settings, saved)
    shared = shared_steps(before, settings)
    if step > shared:
        raise UserError(
            f"got {_said(settings, changed)} for a branch of {checkpoint}, whose run was started"
            f" with {_said(before, changed)}: of its {step} steps only the first {shared} would be"
            " the same; expected an earlier checkpoint, or a length that it agrees with"
        )
    if (reason := damage_of(checkpoint)) is not None:
        raise DamagedCheckpointError(checkpoint, reason)
    return step


def _before(
    settings: PretrainingSettings, saved: dict[str, Any]
) -> tuple[PretrainingSettings, list[str]]:
    """The settings with the length that is written down, and which of `LENGTH` differ."""
    found = {name: saved.get(name, getattr(PretrainingSettings(), name)) for name in LENGTH}
    changed = [name for name, value in found.items() if value != getattr(settings, name)]
    return dataclasses.replace(settings, **found), sorted(changed)


def _said(settings: PretrainingSettings, names: list[str]) -> str:
    return ", ".join(f"{name}={getattr(settings, name)}" for name in names)
