"""The parts of an inspection: each computes, and gives a section of the report and its numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bert_jax.analysis.all_neighbours import all_neighbours
from bert_jax.analysis.analogies import solve_analogies
from bert_jax.analysis.comparison import compare_tables
from bert_jax.analysis.geometry import geometry_of, norm_by_frequency
from bert_jax.analysis.neighbours import nearest_to
from bert_jax.analysis.outlier import find_outlier
from bert_jax.analysis.parts import pair_inputs, variance_shares
from bert_jax.analysis.positions import positions_of
from bert_jax.analysis.report.input_section import input_section
from bert_jax.analysis.report.page import Numbers, Section, Words
from bert_jax.analysis.report.search import Search
from bert_jax.analysis.report.table_sections import positions_section, segments_section
from bert_jax.analysis.report.token_sections import (
    analogies_table,
    geometry_section,
    neighbour_list,
    neighbours_section,
    outliers_table,
)
from bert_jax.analysis.report.training_sections import (
    comparison_section,
    timeline_section,
    updates_section,
)
from bert_jax.analysis.representation import PART_NAMES, represent
from bert_jax.analysis.segments import segments_of
from bert_jax.analysis.spectrum import Spectrum, spectrum_of
from bert_jax.analysis.timeline import moment
from bert_jax.analysis.words import Words as SplitWords
from bert_jax.analysis.words import split_words
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.errors import UserError
from bert_jax.training.checkpoints import load_embeddings
from experiments.inspected import Inspected
from experiments.run_audit import RunAudit

_SHOWN_NEIGHBOURS = 8
_SAMPLED_ROWS = 500  # whose neighbours two tables are compared by
_EXAMPLE_RANKS = (50, 100, 170, 260, 370, 500)  # common words, but no mere grammar


@dataclasses.dataclass(frozen=True)
class Finding:
    """What one part of an inspection found: for the page, and for `result.json`."""

    section: Section
    numbers: dict[str, Any]


def overview(inspected: Inspected) -> Finding:
    """What the checkpoint is."""
    pretrained, config = inspected.pretrained, inspected.pretrained.config
    embeddings = pretrained.params["bert"]["embeddings"]
    rows = {name: embeddings[name]["table"].shape for name in PART_NAMES}
    size = sum(math.prod(shape) for shape in rows.values())
    numbers = {
        "source": inspected.source,
        "architecture": pretrained.architecture,
        "tables": {name: list(shape) for name, shape in rows.items()},
        "embedding_parameters": size,
        "corpus": None if inspected.text is None else inspected.text.name,
        "corpus_pieces": None if inspected.text is None else int(inspected.text.counts.sum()),
        "notes": list(pretrained.notes),
    }
    seen = (
        ("corpus", "none", "no frequencies: name one with --corpus")
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
                    ("encoder", _count(config.num_hidden_layers, "layer"),
                     f"{config.num_attention_heads} heads; {pretrained.architecture}"),
                    seen,
                )
            ),
            *(Words(f"Note: {note}.") for note in pretrained.notes),
        ),
    )  # fmt: skip
    return Finding(section, numbers)


def input_representation(inspected: Inspected, text: str, pair: str | None) -> Finding:
    """Items of the input representation of one text, and the parts' shares."""
    embeddings = inspected.pretrained.params["bert"]["embeddings"]
    tables = [embeddings[name]["table"] for name in PART_NAMES]
    found = represent(embeddings, inspected.tokenizer.encode(text, pair))
    length = min(128, len(tables[2]))
    rows = None
    if inspected.text is not None and length >= 5 and len(tables[1]) > 1:
        rows = pair_inputs(inspected.text.documents, inspected.tokenizer, length, rows=200)
    if rows is not None and len(rows[0]):
        sampled = f"{len(rows[0]):,} places of pairs of {length} pieces from {inspected.text.name}"  # type: ignore[union-attr]
    else:
        draw = np.random.default_rng(0)
        rows = (
            draw.choice(inspected.ordinary, 20_000),
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
        "norms": dict(zip((*PART_NAMES, "sum"), _rounded(found.norms), strict=True)),
        "cosines_to_sum": dict(zip(PART_NAMES, _rounded(found.cosines), strict=True)),
        "variance_shares": dataclasses.asdict(shares),
        "variance_shares_over": sampled,
        "mean_norms": lengths,
    }
    return Finding(input_section(found, shares, sampled, lengths), numbers)


def geometry(inspected: Inspected, spectrum: Spectrum) -> Finding:
    """The shape of the token table, over its ordinary rows."""
    rows = inspected.ordinary
    table = inspected.token_table[rows]
    counts = None if inspected.counts is None else inspected.counts[rows]
    found = geometry_of(table, spectrum)
    by_frequency = None
    if counts is not None and (counts > 0).any():
        by_frequency = norm_by_frequency(found.norms, counts)
    pieces = [inspected.pieces[i] for i in rows]
    section = geometry_section(
        found, spectrum, pieces, inspected.parts[rows], spectrum.project(table, 2),
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
        "variance_explained": _rounded(spectrum.explained[:20]),
        "norm_against_frequency": agreement_numbers(by_frequency.agreement)
        if by_frequency
        else None,
    }
    return Finding(section, numbers)


def neighbours(
    inspected: Inspected,
    words: Sequence[str],
    min_count: int,
    k: int,
    analogies: Sequence[tuple[str, ...]],
    groups: Sequence[tuple[str, ...]],
    updates: np.ndarray | None,
) -> Finding:
    """The search box, the neighbours of some words, analogies and outliers."""
    table, candidates = inspected.token_table, inspected.candidates(min_count)
    if len(candidates) < 2:
        raise UserError(
            f"got --min_count={min_count}, which leaves {len(candidates)} pieces; expected a floor"
            " that at least two reach"
        )
    everyone = all_neighbours(table, k, candidates)
    examples = _examples(inspected, candidates)
    counts = inspected.counts
    floor = "" if counts is None else f" Neighbours occur at least {min_count:,} times."
    search = Search(
        inspected.pieces, everyone, np.linalg.norm(table, axis=1), counts, updates,
        int(examples[0]) if len(examples) else None,
        f"All {len(inspected.pieces):,} pieces.{floor} Special and unused pieces are no "
        "neighbours.",
    )  # fmt: skip
    asked = list(words) or [inspected.pieces[i] for i in examples]
    shown, numbers, missing = _word_neighbours(inspected, asked, bool(words), candidates)
    results: dict[str, Any] = {
        "words": numbers,
        "not_known": missing,
        "candidates": len(candidates),
    }
    solved = _analogies(inspected, analogies, candidates, results) if analogies else None
    odd = _outliers(inspected, groups, candidates, results) if groups else None
    return Finding(neighbours_section(search, shown, missing, solved, odd), results)


def positions(inspected: Inspected) -> Finding:
    """The position table."""
    found = positions_of(inspected.pretrained.params["bert"]["embeddings"]["position"]["table"])
    numbers = {
        "adjacent_cosine": float(found.decay[1]),
        "half_distance": found.half_distance,
        "strongest_period": found.strongest_period,
        "strongest_period_share": float(found.power.max()),
        "decay": _rounded(found.decay[[d for d in (1, 2, 4, 8, 16, 32, 64, 128, 256)
                                       if d < len(found.decay)]]),
        "mean_norm": float(found.norms.mean()),
    }  # fmt: skip
    return Finding(positions_section(found), numbers)


def segments(inspected: Inspected) -> Finding:
    """The segment table."""
    found = segments_of(inspected.pretrained.params["bert"]["embeddings"]["segment"]["table"])
    numbers = {
        "norms": _rounded(found.norms),
        "angles": [_rounded(row) for row in found.angles],
        "difference_norm": found.difference_norm,
        "half_in_dimensions": found.half_in,
        "largest_dimensions": found.dimensions[:20].tolist(),
    }
    return Finding(segments_section(found), numbers)


def timeline(inspected: Inspected) -> Finding:
    """The checkpoints of one run, each beside the last."""
    last = inspected.token_table
    sampled = _sampled_rows(inspected)
    moments = [moment(step, load_embeddings(path), last, sampled) for step, path in inspected.steps]
    return Finding(
        timeline_section(moments), {"moments": [dataclasses.asdict(one) for one in moments]}
    )


def comparison(inspected: Inspected, other: str) -> Finding:
    """This checkpoint beside another one, over the pieces that both have."""
    theirs = load_pretrained(other, embeddings_only=True)
    table = theirs.params["bert"]["embeddings"]["token"]["table"]
    if theirs.tokenizer is None or inspected.pretrained.tokenizer is None:
        if len(table) != len(inspected.token_table):
            raise UserError(
                f"got --compare={other}, of {len(table)} rows, with a token table of"
                f" {len(inspected.token_table)}; expected vocabularies, or tables of one length"
            )
        mine = its = np.arange(len(table))
    else:
        number = {piece: row for row, piece in enumerate(theirs.tokenizer.pieces)}
        mine = np.array([r for r in inspected.ordinary if inspected.pieces[r] in number], np.int64)
        its = np.array([number[inspected.pieces[row]] for row in mine], np.int64)
    if len(mine) < 2:
        raise UserError(
            f"got --compare={other}, whose vocabulary shares {len(mine)} pieces; expected at least"
            " two"
        )
    before, after = table[its], inspected.token_table[mine]
    draw = np.random.default_rng(0)
    sampled = np.sort(draw.permutation(len(mine))[:_SAMPLED_ROWS])
    found = compare_tables(before, after, sampled)
    left_out = len(inspected.pieces) + len(table) - 2 * len(mine)
    section = comparison_section(found, [inspected.pieces[r] for r in mine], other, left_out)
    numbers = {
        "with": other,
        "rows": len(mine),
        "mean_cosine": _number(found.cosines.mean()),
        "mean_cosine_aligned": _number(found.aligned.mean()),
        "procrustes_distance": _number(found.procrustes),
        "neighbours_kept": float(found.kept.mean()),
    }
    return Finding(section, numbers)


def updates(inspected: Inspected, audit: RunAudit) -> Finding:
    """The update audit of the run."""
    numbers = {
        "steps": audit.steps,
        "changed": _spread(audit.updates),
        "as_input": _spread(audit.as_input),
        "mean_drift_seen": _number(_mean(audit.drift[audit.as_input > 0])),
        "mean_drift_unseen": _number(_mean(audit.drift[audit.as_input == 0])),
    }
    section = updates_section(
        audit.updates, audit.as_input, audit.drift, inspected.pieces, inspected.counts, audit.steps
    )
    return Finding(section, numbers)


def agreement_numbers(found: Any) -> dict[str, Any]:
    """An `Agreement` as JSON holds it, with its coverage."""
    content = {name: _number(value) for name, value in dataclasses.asdict(found).items()}
    return {**content, "coverage": found.coverage}


def spectrum_of_ordinary(inspected: Inspected) -> Spectrum:
    """The principal directions of the token table without its special and unused rows."""
    return spectrum_of(inspected.token_table[inspected.ordinary])


def _word_neighbours(
    inspected: Inspected, asked: Sequence[str], typed: bool, candidates: np.ndarray
) -> tuple[list[tuple[str, str, str, str]], dict[str, Any], list[str]]:
    """Rows of the table, numbers, and the words that the vocabulary cannot write."""
    table = inspected.token_table
    if typed:
        words = split_words(inspected.tokenizer, asked)
    else:  # pieces as they stand: "##ing" cut as text would be three pieces
        number = {piece: row for row, piece in enumerate(inspected.pieces)}
        words = SplitWords(tuple(asked), tuple(np.array([number[piece]]) for piece in asked))
    known = np.flatnonzero(words.known)
    missing = [words.words[i] for i in np.flatnonzero(~words.known)]
    if not len(known):
        return [], {}, missing
    own = np.full((len(known), max(len(words.pieces[i]) for i in known)), -1)
    for row, i in enumerate(known):
        own[row, : len(words.pieces[i])] = words.pieces[i]
    k = _SHOWN_NEIGHBOURS
    found = nearest_to(table, words.vectors(table)[known], k, candidates, excluded=own)
    seen = None if inspected.counts is None else words.seen(inspected.counts)
    shown, numbers = [], {}
    for row, i in enumerate(known):
        word, pieces = words.words[i], [inspected.pieces[p] for p in words.pieces[i]]
        count = "–" if seen is None else f"{seen[i]:,}"
        shown.append((word, " ".join(pieces), count, neighbour_list(inspected.pieces, found, row)))
        numbers[word] = [
            {"piece": inspected.pieces[j], "cosine": round(float(cosine), 4)}
            for j, cosine in zip(found.ids[row], found.cosines[row], strict=True)
            if np.isfinite(cosine)
        ]
    return shown, numbers, missing


def _analogies(
    inspected: Inspected,
    questions: Sequence[tuple[str, ...]],
    candidates: np.ndarray,
    results: dict[str, Any],
) -> Any:
    """The analogies whose words are all single pieces, and a count of the others."""
    split = [split_words(inspected.tokenizer, question).single for question in questions]
    usable = [i for i, single in enumerate(split) if (single >= 0).all()]
    rows = np.array([split[i] for i in usable], np.int64).reshape(-1, 4)
    found = solve_analogies(
        inspected.token_table, rows[:, 0], rows[:, 1], rows[:, 2], _SHOWN_NEIGHBOURS, candidates
    )
    right = int((found.ids[:, 0] == rows[:, 3]).sum()) if found.ids.size else 0
    results["analogies"] = {"right": right, "answered": len(usable), "of": len(questions)}
    kept = [(q[0], q[1], q[2], q[3]) for q in (questions[i] for i in usable)]
    answers = [neighbour_list(inspected.pieces, found, row) for row in range(len(usable))]
    return analogies_table(kept, answers, right)


def _outliers(
    inspected: Inspected,
    groups: Sequence[tuple[str, ...]],
    candidates: np.ndarray,
    results: dict[str, Any],
) -> Any:
    centre = inspected.token_table[candidates].mean(axis=0)
    kept, found = [], []
    for group in groups:
        words = split_words(inspected.tokenizer, group)
        known = words.known
        if known.sum() >= 3:
            kept.append([w for w, k in zip(group, known, strict=True) if k])
            found.append(find_outlier(words.vectors(inspected.token_table)[known], centre))
    results["outliers"] = [
        {"group": group, "outlier": group[one.index], "fit": _rounded(one.fit)}
        for group, one in zip(kept, found, strict=True)
    ]
    return outliers_table(kept, found)


def _examples(inspected: Inspected, candidates: np.ndarray) -> np.ndarray:
    """Six whole words, from the 50th to the 500th most frequent, or by row where nobody knows."""
    whole = [i for i in candidates if len(p := inspected.pieces[i]) > 2 and p.isalpha()]
    ranked = np.array(whole if whole else candidates, np.int64)
    if inspected.counts is not None:
        ranked = ranked[np.argsort(-inspected.counts[ranked], kind="stable")]
    else:  # a published vocabulary is ordered by frequency, but for what stands first
        ranked = ranked[len(ranked) // 20 :]
    last = len(ranked) - 1
    return ranked[sorted({min(rank, last) for rank in _EXAMPLE_RANKS})]


def _sampled_rows(inspected: Inspected) -> np.ndarray:
    """Rows whose neighbours are compared: the most frequent, or some at random."""
    rows = inspected.ordinary
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


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _rounded(values: np.ndarray) -> list[Any]:
    return np.round(np.asarray(values, float), 5).tolist()


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else _plain(value)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
