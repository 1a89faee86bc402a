"""What is in the three tables: rows, their sum, their shape."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from bert_jax.analysis.geometry import (
    Spectrum,
    geometry_of,
    norm_by_frequency,
    positions_of,
    segments_of,
    spectrum_of,
)
from bert_jax.analysis.inspection.finding import Finding, agreement_numbers, rounded
from bert_jax.analysis.inspection.inspected import Inspected
from bert_jax.analysis.position_reading import (
    FEWEST_ROWS,
    PositionReading,
    read_positions,
    read_random,
    sinusoid,
)
from bert_jax.analysis.report.input_section import input_section
from bert_jax.analysis.report.page import Numbers, Section, Words
from bert_jax.analysis.report.table_sections import positions_section, segments_section
from bert_jax.analysis.report.token_sections import (
    geometry_section,
)
from bert_jax.analysis.representation import PART_NAMES, pair_inputs, represent, variance_shares


def overview(inspected: Inspected) -> Finding:
    """What the checkpoint is."""
    model = inspected.model
    rows = {name: getattr(inspected.tables, name).shape for name in PART_NAMES}
    size = sum(
        math.prod(shape) for name, shape in rows.items() if name not in inspected.without_table
    )
    notes = () if model is None else model.notes
    notes = (*notes, *(
        f"the {name} embedding has no table; what it gives for every id is shown in its place"
        for name in inspected.without_table
    ))  # fmt: skip
    numbers = {
        "source": inspected.checkpoint,
        "architecture": None if model is None else model.architecture,
        "tables": {name: list(shape) for name, shape in rows.items()},
        "embedding_parameters": size,
        "corpus": None if inspected.text is None else inspected.text.name,
        "corpus_pieces": None if inspected.text is None else int(inspected.text.counts.sum()),
        "notes": list(notes),
    }
    encoder = ("encoder", "none", "tables alone")
    if model is not None:
        config = model.config
        encoder = (
            "encoder", _count(config.num_hidden_layers, "layer"),
            f"{config.num_attention_heads} heads; {model.architecture}",
        )  # fmt: skip
    seen = (
        ("corpus", "none", "no frequencies without one")
        if inspected.text is None
        else ("corpus", f"{numbers['corpus_pieces']:,}", f"pieces in {inspected.text.name}")
    )
    section = Section(
        "overview", "What this is",
        "BERT's input is the sum of three tables that training fills: this page looks into them.",
        (
            Numbers(
                (
                    ("token table", " × ".join(f"{n:,}" for n in rows["token"]), "pieces × width"),
                    ("segment table", " × ".join(f"{n:,}" for n in rows["segment"]),
                     "kinds of sentence × width"),
                    ("position table", " × ".join(f"{n:,}" for n in rows["position"]),
                     "places × width"),
                    ("parameters", f"{size:,}", "in the three tables"),
                    encoder,
                    seen,
                )
            ),
            *(Words(f"Note: {note}.") for note in notes),
        ),
    )  # fmt: skip
    return Finding(section, numbers)


def input_representation(
    inspected: Inspected, text: str, pair: str | None, cut: bool = False
) -> Finding:
    """Items of the input representation of one text, and the parts' shares.

    Args:
        cut: whether a text longer than the position table is cut; otherwise it is refused.
    """
    tables = [getattr(inspected.tables, name) for name in PART_NAMES]
    encoding = inspected.tokenizer.encode(text, pair, len(tables[2]) if cut else None)
    found = represent(inspected.tables, encoding)
    length = min(128, len(tables[2]))
    rows, sampled = None, ""
    if inspected.text is not None and length >= 5 and len(tables[1]) > 1:
        rows = pair_inputs(inspected.text.documents, inspected.tokenizer, length, rows=200)
        sampled = f"{len(rows[0]):,} places of pairs of {length} pieces from {inspected.text.name}"
    if rows is None or not len(rows[0]):
        draw = np.random.default_rng(0)
        rows = (
            draw.choice(inspected.rows.ordinary, 20_000),
            draw.integers(0, len(tables[1]), 20_000),
            draw.integers(0, length, 20_000),
        )
        sampled = (
            f"20,000 triples of a piece, a segment and one of the first {length} positions, all"
            " drawn evenly, since there is no corpus"
        )
    shares = variance_shares(*(table[ids] for table, ids in zip(tables, rows, strict=True)))
    lengths = {
        name: float(np.linalg.norm(table, axis=1).mean())
        for name, table in zip(PART_NAMES, tables, strict=True)
    }
    numbers = {
        "pieces": list(found.pieces),
        "ids": found.ids.tolist(),
        "segments": found.segments.tolist(),
        "positions": found.positions.tolist(),
        "norms": dict(zip((*PART_NAMES, "sum"), rounded(found.norms), strict=True)),
        "cosines_to_sum": dict(zip(PART_NAMES, rounded(found.cosines), strict=True)),
        "variance_shares": dataclasses.asdict(shares),
        "variance_shares_over": sampled,
        "mean_norms": lengths,
    }
    return Finding(input_section(found, shares, sampled, lengths), numbers)


def geometry(inspected: Inspected, spectrum: Spectrum) -> Finding:
    """The shape of the token table, over its ordinary rows."""
    rows = inspected.rows.ordinary
    table = inspected.token_table[rows]
    counts = None if inspected.counts is None else inspected.counts[rows]
    found = geometry_of(table, spectrum)
    by_frequency = None
    if counts is not None and (counts > 0).any():
        by_frequency = norm_by_frequency(found.norms, counts)
    pieces = [inspected.rows.pieces[i] for i in rows]
    section = geometry_section(
        found, spectrum, pieces, inspected.rows.kinds[rows], spectrum.project(table, 2),
        counts if by_frequency else None, by_frequency,
    )  # fmt: skip
    numbers = {
        "rows": len(rows),
        "mean_cosine": found.mean_cosine,
        "mean_cosine_centred": found.mean_cosine_centred,
        "isotropy": found.isotropy,
        "effective_rank": found.effective_rank,
        "common_share": found.common_share,
        "mean_norm": float(found.norms.mean()),
        "variance_explained": rounded(spectrum.explained[:20]),
        "norm_against_frequency": agreement_numbers(by_frequency.agreement)
        if by_frequency
        else None,
    }
    return Finding(section, numbers)


def positions(inspected: Inspected) -> Finding:
    """The position table."""
    table = inspected.tables.position
    found, readings = positions_of(table), position_readings(table)
    numbers = {
        "adjacent_cosine": float(found.decay[1]),
        "half_distance": found.half_distance,
        "strongest_period": found.strongest_period,
        "strongest_period_share": float(found.power.max()),
        "decay": rounded(found.decay[[d for d in (1, 2, 4, 8, 16, 32, 64, 128, 256)
                                       if d < len(found.decay)]]),
        "mean_norm": float(found.norms.mean()),
        "read": {name: dataclasses.asdict(reading) for name, reading in readings.items()},
    }  # fmt: skip
    return Finding(positions_section(found, readings), numbers)


def position_readings(table: np.ndarray) -> dict[str, PositionReading]:
    """How well positions are read from a table, a sinusoid and random vectors of its size.

    Nothing where it has too few rows to tell.
    """
    if len(table) < FEWEST_ROWS:
        return {}
    return {
        "table": read_positions(table),
        "sinusoid": read_positions(sinusoid(*table.shape)),
        "random": read_random(*table.shape),
    }


def segments(inspected: Inspected) -> Finding:
    """The segment table."""
    found = segments_of(inspected.tables.segment)
    numbers = {
        "norms": rounded(found.norms),
        "angles": [rounded(row) for row in found.angles],
        "difference_norm": found.difference_norm,
        "half_in_dimensions": found.half_in,
        "largest_dimensions": found.dimensions[:20].tolist(),
        "one_segment_read": one_segment_read(inspected),
    }
    return Finding(segments_section(found, one_segment_read(inspected)), numbers)


def one_segment_read(inspected: Inspected) -> bool:
    """Whether it is a run of ours without next sentence prediction, whose rows had one segment."""
    ours, model = inspected.run is not None, inspected.model
    return ours and model is not None and "mlm" in model.params and "nsp" not in model.params


def spectrum_of_ordinary(inspected: Inspected) -> Spectrum:
    """The principal directions of the token table without its special and unused rows."""
    return spectrum_of(inspected.token_table[inspected.rows.ordinary])


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
