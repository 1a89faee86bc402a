"""Which parts an inspection has, for this checkpoint and what was asked about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from bert_jax.analysis.hidden_states import HiddenStates
from bert_jax.analysis.report.page import Section
from bert_jax.analysis.similarity import ScoredPairs
from bert_jax.errors import UserError
from bert_jax.progress import ProgressBar

from . import agreement, neighbours, tables, training
from .finding import Finding
from .inspected import Inspected
from .run_audit import read_audit

_SECOND_TEXT = "he likes playing"  # with the default first text: the paper's example


@dataclasses.dataclass(frozen=True)
class Questions:
    """What was asked.

    Attributes:
        words: whose neighbours are listed; a few of the vocabulary's own where there are none.
        similarity, sts: benchmarks of words, of sentences.
        analogies: four words each.
        outliers: at least three words each.
        text, pair: whose input representation is shown; None for the paper's example.
        compare: another checkpoint.
        neighbours: of every piece, in the search box.
        min_count: how often a neighbour must occur in the corpus.
        layer: whose contextual vectors are scored; negative counts from the last.
        occurrences: how many of a word are averaged.
    """

    words: Sequence[str]
    similarity: Sequence[ScoredPairs]
    sts: Sequence[ScoredPairs]
    analogies: Sequence[tuple[str, ...]]
    outliers: Sequence[tuple[str, ...]]
    text: str | None
    pair: str | None
    compare: str | None
    neighbours: int
    min_count: int
    layer: int
    occurrences: int


def look(inspected: Inspected, asked: Questions) -> tuple[list[Section], dict[str, Any]]:
    """Go through every part, and return the sections of the report and the numbers.

    Raises:
        UserError: what was asked does not fit the checkpoint.
    """
    layers = 0 if inspected.model is None else inspected.model.config.num_hidden_layers
    if not -layers - 1 <= asked.layer <= layers:
        raise UserError(
            f"got --layer={asked.layer}; expected 0, the input representation, to {layers}, the"
            " last, or a negative number that counts from there"
        )
    findings = {}
    parts = _parts(inspected, asked)
    with ProgressBar("looking", len(parts)) as bar:
        for number, (name, part) in enumerate(parts.items()):
            bar.update(number, name)
            if (found := part()) is not None:
                findings[name] = found
    return [f.section for f in findings.values()], {n: f.numbers for n, f in findings.items()}


def _parts(inspected: Inspected, asked: Questions) -> dict[str, Callable[[], Finding | None]]:
    hidden = None
    if inspected.model is not None and (asked.sts or inspected.text is not None):
        hidden = HiddenStates(inspected.model.config, inspected.model.params["bert"])
    elif asked.sts:
        raise UserError(
            f"got --sts with --checkpoint={inspected.source}, which is tables alone; expected a"
            " checkpoint with an encoder, or no --sts"
        )
    spectrum = tables.spectrum_of_ordinary(inspected)
    audit = read_audit(inspected.run, len(inspected.rows.pieces)) if inspected.run else None
    parts: dict[str, Callable[[], Finding | None]] = {
        "overview": lambda: tables.overview(inspected)
    }
    if inspected.tables.tokenizer is not None or asked.text is not None:
        text, pair = asked.text, asked.pair
        if text is None:
            text, pair = "my dog is cute", pair or _SECOND_TEXT
            if len(inspected.tables.segment) < 2:
                pair = None
        parts["input"] = lambda: tables.input_representation(inspected, text, pair)
    parts["geometry"] = lambda: tables.geometry(inspected, spectrum)
    parts["neighbours"] = lambda: neighbours.neighbours(
        inspected, asked.words, asked.min_count, asked.neighbours, asked.analogies,
        asked.outliers, None if audit is None else audit.updates,
    )  # fmt: skip
    if asked.similarity:
        parts["similarity"] = lambda: agreement.word_similarity(
            inspected, spectrum, asked.similarity, hidden, asked.layer, asked.occurrences
        )
    if asked.sts and hidden is not None:
        sts_states = hidden
        parts["sentences"] = lambda: agreement.sentence_similarity(inspected, sts_states, asked.sts)
    parts["positions"] = lambda: tables.positions(inspected)
    parts["segments"] = lambda: tables.segments(inspected)
    if inspected.text is not None and hidden is not None:
        word_states = hidden
        parts["contextuality"] = lambda: agreement.contextuality(inspected, word_states)
    if audit is not None:
        parts["updates"] = lambda: training.updates(inspected, audit)
    if asked.compare is not None:
        # At once: what cannot be compared is said before the rest has taken its time.
        compared = training.comparison(inspected, asked.compare)
        parts["comparison"] = lambda: compared
    if len(inspected.steps) > 1:
        parts["timeline"] = lambda: training.timeline(inspected)
    return parts
