"""Which rows lie together: neighbours, analogies, outliers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bert_jax.analysis.inspection.finding import Finding, rounded
from bert_jax.analysis.inspection.inspected import Inspected
from bert_jax.analysis.nearest_of_all import all_neighbours
from bert_jax.analysis.report.search import Search
from bert_jax.analysis.report.token_sections import (
    analogies_table,
    neighbour_list,
    neighbours_section,
    outliers_table,
)
from bert_jax.analysis.token_rows import examples
from bert_jax.analysis.words import Words as SplitWords
from bert_jax.analysis.words import (
    find_outlier,
    solve_analogies,
    split_words,
    word_neighbours,
)
from bert_jax.errors import UserError

_SHOWN_NEIGHBOURS = 8


def neighbours_and_analogies(
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
            f"got min_count={min_count}, which leaves {len(candidates)} pieces; expected a lower"
            " minimum, which at least two reach"
        )
    everyone = all_neighbours(table, k, candidates, inspected.rows.centre)
    shown_rows = _examples(inspected, candidates, min_count)
    counts = inspected.counts
    floor = "" if counts is None else f" Neighbours occur at least {min_count:,} times."
    search = Search(
        inspected.rows.pieces, everyone, np.linalg.norm(table, axis=1), counts, updates,
        int(shown_rows[0]) if len(shown_rows) else None,
        f"All {len(inspected.rows.pieces):,} pieces.{floor} Special and unused pieces are no "
        "neighbours.",
    )  # fmt: skip
    asked = list(words) or [inspected.rows.pieces[i] for i in shown_rows]
    shown, numbers, missing = _word_neighbours(inspected, asked, bool(words), candidates)
    results: dict[str, Any] = {
        "words": numbers,
        "not_known": missing,
        "candidates": len(candidates),
    }
    solved = _analogies(inspected, analogies, candidates, results) if analogies else None
    odd = _outliers(inspected, groups, results) if groups else None
    return Finding(neighbours_section(search, shown, missing, solved, odd), results)


def _word_neighbours(
    inspected: Inspected, asked: Sequence[str], typed: bool, candidates: np.ndarray
) -> tuple[list[tuple[str, str, str, str]], dict[str, Any], list[str]]:
    """Rows of the table, numbers, and the words that the vocabulary cannot write."""
    if typed:
        words = split_words(inspected.tokenizer, asked)
    else:  # pieces as they stand: "##ing" cut as text would be three pieces
        number = {piece: row for row, piece in enumerate(inspected.rows.pieces)}
        words = SplitWords(tuple(asked), tuple(np.array([number[piece]]) for piece in asked))
    known = np.flatnonzero(words.known)
    missing = [words.words[i] for i in np.flatnonzero(~words.known)]
    if not len(known):
        return [], {}, missing
    written = SplitWords(
        tuple(words.words[i] for i in known), tuple(words.pieces[i] for i in known)
    )
    found = word_neighbours(inspected.rows, written, _SHOWN_NEIGHBOURS, candidates)
    seen = None if inspected.counts is None else words.seen(inspected.counts)
    shown, numbers = [], {}
    for row, i in enumerate(known):
        word, pieces = words.words[i], [inspected.rows.pieces[p] for p in words.pieces[i]]
        count = "–" if seen is None else f"{seen[i]:,}"
        shown.append(
            (word, " ".join(pieces), count, neighbour_list(inspected.rows.pieces, found, row))
        )
        numbers[word] = [
            {"piece": inspected.rows.pieces[j], "cosine": round(cosine, 4)}
            for j, cosine in found.of(row)
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
        inspected.token_table, rows[:, 0], rows[:, 1], rows[:, 2], _SHOWN_NEIGHBOURS, candidates,
        inspected.rows.centre,
    )  # fmt: skip
    right = int((found.ids[:, 0] == rows[:, 3]).sum()) if found.ids.size else 0
    results["analogies"] = {"right": right, "answered": len(usable), "of": len(questions)}
    kept = [(q[0], q[1], q[2], q[3]) for q in (questions[i] for i in usable)]
    answers = [neighbour_list(inspected.rows.pieces, found, row) for row in range(len(usable))]
    return analogies_table(kept, answers, right)


def _outliers(
    inspected: Inspected,
    groups: Sequence[tuple[str, ...]],
    results: dict[str, Any],
) -> Any:
    kept, found = [], []
    for group in groups:
        words = split_words(inspected.tokenizer, group)
        known = words.known
        if known.sum() >= 3:
            kept.append([w for w, k in zip(group, known, strict=True) if k])
            found.append(
                find_outlier(words.vectors(inspected.token_table)[known], inspected.rows.centre)
            )
    results["outliers"] = [
        {"group": group, "outlier": group[one.index], "fit": rounded(one.fit)}
        for group, one in zip(kept, found, strict=True)
    ]
    return outliers_table(kept, found)


def _examples(inspected: Inspected, candidates: np.ndarray, min_count: int) -> np.ndarray:
    """Six whole words; six of any pieces where there are none."""
    ranked = inspected.rows.words(inspected.counts, min_count)
    if inspected.counts is None:  # a published vocabulary is ordered, but for what stands first
        ranked = ranked[len(ranked) // 20 :]
    return examples(ranked if len(ranked) else candidates)
