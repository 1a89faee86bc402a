"""Analogies: a is to b as c is to …?"""

from __future__ import annotations

import numpy as np

from bert_jax.analysis.neighbours import Neighbours, directions, nearest_to


def solve_analogies(
    table: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    k: int,
    candidates: np.ndarray | None = None,
) -> Neighbours:
    """The rows nearest to b - a + c, all three first brought to length 1 round the mean row.

    "3CosAdd" of Mikolov et al. 2013 (https://arxiv.org/abs/1301.3781), as Levy & Goldberg 2014
    write it down. The three rows of a question are no answers to it.

    Args:
        table: [V, D].
        a, b, c: [Q] row numbers: one question each.
        k: how many answers; fewer where there are fewer candidates.
        candidates: [C] row numbers that may be answers; None for all.
    """
    rows = table if candidates is None else table[candidates]
    centre = rows.mean(axis=0, dtype=np.float64)
    unit_a, unit_b, unit_c = (directions(table[np.asarray(ids)], centre) for ids in (a, b, c))
    sought = unit_b - unit_a + unit_c + centre.astype(np.float32)
    excluded = np.stack([np.asarray(a), np.asarray(b), np.asarray(c)], axis=1)
    return nearest_to(table, sought, k, candidates, excluded)
