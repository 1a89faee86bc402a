"""Nearest rows of an embedding table."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """For each query its k nearest rows, nearest first.

    Attributes:
        ids: [Q, k] row numbers.
        cosines: [Q, k], from 1 downwards.
    """

    ids: np.ndarray
    cosines: np.ndarray


def nearest_rows(
    table: np.ndarray, queries: np.ndarray, k: int, candidates: np.ndarray | None = None
) -> Neighbours:
    """The rows of `table` whose direction from the mean row is most like each query row's.

    The mean of the candidate rows is taken off first: all rows of a trained table share a large
    common part that says nothing of any one of them (Mu & Viswanath 2018).

    Args:
        table: [V, D].
        queries: [Q] row numbers; a row is no neighbour of itself.
        k: how many neighbours; fewer where there are fewer candidates.
        candidates: [C] row numbers that may be neighbours; None for all.
    """
    queries = np.asarray(queries)
    candidates = np.arange(len(table)) if candidates is None else np.asarray(candidates)
    centre = table[candidates].mean(axis=0)
    cosines = _directions(table[queries] - centre) @ _directions(table[candidates] - centre).T
    cosines[queries[:, None] == candidates[None, :]] = -np.inf
    order = np.argsort(-cosines, axis=1, kind="stable")[:, : min(k, len(candidates) - 1)]
    return Neighbours(candidates[order], np.take_along_axis(cosines, order, axis=1))


def _directions(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
