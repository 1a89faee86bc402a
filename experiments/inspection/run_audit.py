"""The update audit of a run, where there is one: the one place that knows its file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np


@dataclasses.dataclass(frozen=True)
class RunAudit:
    """What training did to the rows of the token table.

    Attributes:
        steps: how many were audited.
        updates: [V] steps that changed the row's values.
        as_input: [V] steps whose batch had the piece as input.
        drift: [V] how far the row is from where it began.
    """

    steps: int
    updates: np.ndarray
    as_input: np.ndarray
    drift: np.ndarray


def read_audit(run: Path, rows: int) -> RunAudit | None:
    """Read `audit.npz` of a run's workdir; None where there is none for a table of `rows` rows.

    Its arrays `spent` and `changed` are [5, V], counts of steps by what the batch held of a row;
    the first of the five is "as input".
    """
    file = run / "audit.npz"
    if not file.is_file():
        return None
    with np.load(file) as content:
        if content["drift"].shape != (rows,):
            return None
        return RunAudit(
            steps=int(content["steps"]),
            updates=content["changed"].sum(axis=0),
            as_input=content["spent"][0],
            drift=content["drift"],
        )
