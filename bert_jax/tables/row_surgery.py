"""More or fewer positions, more or fewer segment kinds.

    copy         0 1 2 3  ->  0 1 2 3 0 1 2 3 0 1         the table again and again
    interpolate  0 1 2 3  ->  0 ⅓ ⅔ 1 1⅓ 1⅔ 2 2⅓ 2⅔ 3     the same way, in smaller steps
    shorter      0 1 2 3  ->  0 1                         cut

Copied rows keep what is near to each other near, at every place but the seams; interpolated ones
keep the order of all places, but halve what a step means. Either wants some training.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from bert_jax.errors import UserError
from bert_jax.memory import check_fits
from bert_jax.tables.embedding_tables import EmbeddingTables

PositionRule = Literal["copy", "interpolate"]


def resize_positions(
    tables: EmbeddingTables, positions: int, rule: PositionRule = "copy"
) -> EmbeddingTables:
    """Return tables whose position table has `positions` rows; see `resized_positions`.

    >>> rows = np.arange(4.0)[:, None]
    >>> tables = EmbeddingTables(rows, rows[:2], rows, norm_scale=rows[0], norm_bias=rows[0])
    >>> resize_positions(tables, 6).position[:, 0].tolist()
    [0.0, 1.0, 2.0, 3.0, 0.0, 1.0]
    >>> resize_positions(tables, 7, "interpolate").position[:, 0].tolist()
    [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    """
    return tables.replace(position=resized_positions(tables.position, positions, rule))


def resize_segments(
    tables: EmbeddingTables, segments: int, copy_of: int | None = None
) -> EmbeddingTables:
    """Return tables whose segment table has `segments` rows; see `resized_segments`.

    >>> rows = np.arange(4.0)[:, None]
    >>> tables = EmbeddingTables(rows, rows[:2], rows, norm_scale=rows[0], norm_bias=rows[0])
    >>> resize_segments(tables, 3).segment[:, 0].tolist()
    [0.0, 1.0, 0.5]
    >>> resize_segments(tables, 3, copy_of=1).segment[:, 0].tolist()
    [0.0, 1.0, 1.0]
    """
    return tables.replace(segment=resized_segments(tables.segment, segments, copy_of))


def resized_positions(table: np.ndarray, positions: int, rule: PositionRule) -> np.ndarray:
    """Return a position table of another length.

    Args:
        table: [L, D].
        positions: L'. Fewer than L: the first L' rows, whatever the rule.
        rule: "copy": row i is row i mod L. "interpolate": row i is taken from place
            i (L - 1) / (L' - 1) of the old table, between two rows linearly.

    Returns:
        [L', D] in the dtype of the table.

    Raises:
        UserError: `positions` is below 1, or an unknown rule.
    """
    table = np.asarray(table)
    old = len(table)
    if positions < 1:
        raise UserError(f"got {positions} positions; expected at least 1")
    if rule not in ("copy", "interpolate"):
        raise UserError(f"got position rule {rule!r}; expected copy or interpolate")
    check_fits(positions * table[0].nbytes, f"positions={positions}")
    if positions <= old:
        return table[:positions].copy()
    if rule == "copy":
        return table[np.arange(positions) % old]
    steps = np.arange(positions) * (old - 1)  # in whole numbers: a place that is a row is that row
    low, rest = steps // (positions - 1), steps % (positions - 1)
    share = (rest / (positions - 1))[:, None]
    high = np.minimum(low + 1, old - 1)
    between = (1 - share) * table[low].astype(np.float64) + share * table[high].astype(np.float64)
    return np.where(share == 0, table[low], between.astype(table.dtype))


def resized_segments(table: np.ndarray, segments: int, copy_of: int | None = None) -> np.ndarray:
    """Return a segment table of another length.

    Args:
        table: [S, D].
        segments: S'. Fewer than S: the first S' rows.
        copy_of: the old row that new kinds start as; None: the mean of all old rows.

    Returns:
        [S', D] in the dtype of the table.

    Raises:
        UserError: `segments` is below 1, or there is no such row to copy.
    """
    table = np.asarray(table)
    if segments < 1:
        raise UserError(f"got {segments} segment kinds; expected at least 1")
    if copy_of is not None and not 0 <= copy_of < len(table):
        raise UserError(
            f"got segment {copy_of} to copy; expected 0 to {len(table) - 1}, one of the table's"
        )
    check_fits(segments * table[0].nbytes, f"segments={segments}")
    mean = table.astype(np.float64).mean(axis=0).astype(table.dtype)
    new = mean if copy_of is None else table[copy_of]
    more = np.broadcast_to(new, (max(segments - len(table), 0), table.shape[1]))
    return np.concatenate([table[:segments], more])
