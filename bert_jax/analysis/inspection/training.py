"""What training did: the update audit, one table beside another, the checkpoints of a run."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax.analysis.comparison import compare_tables, moment
from bert_jax.analysis.inspection.finding import Finding, number_or_none
from bert_jax.analysis.inspection.inspected import Inspected
from bert_jax.analysis.report.training_sections import (
    comparison_section,
    timeline_section,
    updates_section,
)
from bert_jax.checkpoint_files import load_embeddings
from bert_jax.errors import UserError
from bert_jax.tables.storage import load_tables

_SAMPLED_ROWS = 500  # whose neighbours two tables are compared by


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
    with np.load(file, allow_pickle=False) as content:
        if content["drift"].shape != (rows,):
            return None
        return RunAudit(
            steps=int(content["steps"]),
            updates=content["changed"].sum(axis=0),
            as_input=content["spent"][0],
            drift=content["drift"],
        )


def updates(inspected: Inspected, audit: RunAudit) -> Finding:
    """The update audit of the run."""
    numbers = {
        "steps": audit.steps,
        "changed": _spread(audit.updates),
        "as_input": _spread(audit.as_input),
        "mean_drift_seen": number_or_none(_mean(audit.drift[audit.as_input > 0])),
        "mean_drift_unseen": number_or_none(_mean(audit.drift[audit.as_input == 0])),
    }
    section = updates_section(
        audit.updates,
        audit.as_input,
        audit.drift,
        inspected.rows.pieces,
        inspected.counts,
        audit.steps,
    )
    return Finding(section, numbers)


def comparison(inspected: Inspected, other: str) -> Finding:
    """This checkpoint beside another one, over the pieces that both have."""
    theirs = load_tables(other)
    table = theirs.token
    if theirs.tokenizer is None or inspected.tables.tokenizer is None:
        if len(table) != len(inspected.token_table):
            raise UserError(
                f"got compare={other}, of {len(table)} rows, with a token table of"
                f" {len(inspected.token_table)}; expected vocabularies, or tables of the same"
                " length"
            )
        mine = its = np.arange(len(table))
        only_one = 0
    else:
        number = {piece: row for row, piece in enumerate(theirs.tokenizer.pieces)}
        mine = np.array(
            [r for r in inspected.rows.ordinary if inspected.rows.pieces[r] in number], np.int64
        )
        its = np.array([number[inspected.rows.pieces[row]] for row in mine], np.int64)
        only_one = len(number.keys() ^ set(inspected.tables.tokenizer.pieces))
    if len(mine) < 2:
        raise UserError(
            f"got compare={other}, whose vocabulary shares {len(mine)} pieces; expected at least"
            " two"
        )
    before, after = table[its], inspected.token_table[mine]
    draw = np.random.default_rng(0)
    sampled = np.sort(draw.permutation(len(mine))[:_SAMPLED_ROWS])
    found = compare_tables(before, after, sampled)
    names = [inspected.rows.pieces[row] for row in mine]
    section = comparison_section(found, names, other, only_one)
    numbers = {
        "with": other,
        "rows": len(mine),
        "mean_cosine": number_or_none(found.cosines.mean()),
        "mean_cosine_aligned": number_or_none(found.aligned.mean()),
        "procrustes_distance": number_or_none(found.procrustes),
        "neighbours_kept": float(found.kept.mean()),
    }
    return Finding(section, numbers)


def timeline(inspected: Inspected) -> Finding:
    """The checkpoints of one run, each beside the last."""
    last = inspected.token_table
    sampled = _sampled_rows(inspected)
    moments = [moment(step, load_embeddings(path), last, sampled) for step, path in inspected.steps]
    return Finding(
        timeline_section(moments), {"moments": [dataclasses.asdict(one) for one in moments]}
    )


def _sampled_rows(inspected: Inspected) -> np.ndarray:
    """Rows whose neighbours are compared: the most frequent, or some at random."""
    rows = inspected.rows.ordinary
    if inspected.counts is not None:
        order = rows[np.argsort(-inspected.counts[rows], kind="stable")]
    else:
        order = np.random.default_rng(0).permutation(rows)
    return np.sort(order[:_SAMPLED_ROWS])


def _spread(per_row: np.ndarray) -> dict[str, Any]:
    return {
        "median": float(np.median(per_row)),
        "percentile_5": float(np.percentile(per_row, 5)),
        "never": int((per_row == 0).sum()),
    }


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan
