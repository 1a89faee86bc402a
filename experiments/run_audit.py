"""The update audit of a run, where there is one: the one place that knows its file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np


@dataclasses.dataclass(frozen=True)
class RunAudit:
    """What training did to the token table.

    Attributes:
        updates: [V] audited steps at which each row's values changed.
        steps: how many steps were audited.
    """

    updates: np.ndarray
    steps: int


def read_audit(run: Path, rows: int) -> RunAudit | None:
    """Read `audit.npz` of a run's workdir; None where there is none for a table of `rows` rows."""
    file = run / "audit.npz"
    if not file.is_file():
        return None
    with np.load(file) as content:
        if "updates" not in content or content["updates"].shape != (rows,):
            return None
        return RunAudit(content["updates"], int(content["steps"]))
