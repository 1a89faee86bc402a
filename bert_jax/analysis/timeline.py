"""How the three tables form: one row of figures for each checkpoint of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from bert_jax.analysis.comparison import Comparison, compare_tables
from bert_jax.analysis.geometry import mean_cosine
from bert_jax.analysis.positions import positions_of
from bert_jax.analysis.segments import segments_of
from bert_jax.analysis.spectrum import spectrum_of


@dataclasses.dataclass(frozen=True)
class Moment:
    """The tables at one step of training, beside those at the last step.

    Attributes:
        step: updates made.
        token_norm: mean length of the token rows.
        mean_cosine: of all pairs of token rows.
        effective_rank: of the token table.
        cosine_to_last: mean over rows of the cosine to the same row of the last table.
        procrustes_to_last: distance to it after the best rotation.
        neighbours_kept: mean share of a row's neighbours that are its neighbours at the end.
        position_neighbour_cosine: mean cosine of two positions that follow each other.
        segment_angle: degrees between the two segment rows; 0 where there is one.
    """

    step: int
    token_norm: float
    mean_cosine: float
    effective_rank: float
    cosine_to_last: float
    procrustes_to_last: float
    neighbours_kept: float
    position_neighbour_cosine: float
    segment_angle: float


def moment(
    step: int, embeddings: Mapping[str, Any], last: np.ndarray, sampled: np.ndarray, k: int = 10
) -> Moment:
    """Measure the tables of one checkpoint.

    Args:
        embeddings: as `load_embeddings` gives them.
        last: [V, D] the token table at the end.
        sampled: [m] rows whose neighbours are compared.
        k: how many neighbours count.
    """
    table = embeddings["token"]["table"]
    against: Comparison = compare_tables(table, last, sampled, k)
    positions = positions_of(embeddings["position"]["table"])
    angles = segments_of(embeddings["segment"]["table"]).angles
    return Moment(
        step=step,
        token_norm=float(np.linalg.norm(table, axis=1).mean()),
        mean_cosine=mean_cosine(table),
        effective_rank=spectrum_of(table).effective_rank,
        cosine_to_last=float(against.cosines.mean()),
        procrustes_to_last=against.procrustes,
        neighbours_kept=float(against.kept.mean()),
        position_neighbour_cosine=float(positions.decay[1]),
        segment_angle=float(angles[0, 1]) if len(angles) > 1 else 0.0,
    )
