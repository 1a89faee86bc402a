"""`inspect_embeddings`: which parts an inspection has, and what comes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bert_jax.analysis.hidden_states import HiddenStates
from bert_jax.analysis.inspection import attention, contexts, tables, training, unlearned, words
from bert_jax.analysis.inspection.finding import Finding
from bert_jax.analysis.inspection.inspected import Inspected, open_inspected
from bert_jax.analysis.inspection.training import RunAudit, read_audit
from bert_jax.analysis.projector import write_projector
from bert_jax.analysis.report.page import plotly_script, render_page
from bert_jax.analysis.representation import PART_NAMES
from bert_jax.analysis.similarity import ScoredPairs
from bert_jax.analysis.token_rows import KINDS
from bert_jax.arguments import path_like
from bert_jax.errors import UserError
from bert_jax.model.embeddings import PUBLISHED, Parts
from bert_jax.progress import ProgressBar

_EXAMPLE = ("my dog is cute", "he likes playing")  # the paper's


@dataclasses.dataclass(frozen=True)
class Questions:
    """What is asked of a checkpoint.

    Attributes:
        words: whose neighbours are listed; by default a few of the vocabulary's own.
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

    words: Sequence[str] = ()
    similarity: Sequence[ScoredPairs] = ()
    sts: Sequence[ScoredPairs] = ()
    analogies: Sequence[tuple[str, ...]] = ()
    outliers: Sequence[tuple[str, ...]] = ()
    text: str | None = None
    pair: str | None = None
    compare: str | None = None
    neighbours: int = 10
    min_count: int = 10
    layer: int = -1
    occurrences: int = 10


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        inspected: what was looked at.
        findings: by the name of the part, in the order of the page.
    """

    inspected: Inspected
    findings: dict[str, Finding]

    @property
    def numbers(self) -> dict[str, Any]:
        """The numbers of each part, as JSON holds them."""
        return {name: found.numbers for name, found in self.findings.items()}

    def page(self) -> str:
        """The report: one HTML file that opens offline."""
        model = self.inspected.model
        what = (
            "tables alone"
            if model is None
            else f"{model.architecture} · layers: {model.config.num_hidden_layers}"
        )
        return render_page(
            "Inside the embedding tables",
            f"{self.inspected.checkpoint} · {what} · width: {self.inspected.tables.width}",
            [found.section for found in self.findings.values()],
        )

    def write_projector(self, directory: str | Path) -> None:
        """Write files for TensorBoard's Embedding Projector.

        Token rows with piece, kind, and what is known of each; positions and segments beside.
        """
        rows, counts = self.inspected.rows, self.inspected.counts
        columns: dict[str, Any] = {
            "piece": rows.pieces,
            "kind": [KINDS[kind] for kind in rows.kinds],
        }
        if counts is not None:
            columns["frequency"] = counts.tolist()
        if (audit := _audit_of(self.inspected)) is not None:
            columns["updates"] = audit.updates.tolist()
            columns["steps as input"] = audit.as_input.tolist()
        parts = {name: getattr(self.inspected.tables, name) for name in PART_NAMES}
        numbered = {name: {name: list(range(len(table)))} for name, table in parts.items()}
        write_projector(directory, parts, {**numbered, "token": columns})


def inspect_embeddings(
    checkpoint: str | Path,
    questions: Questions | None = None,
    *,
    vocab: str | None = None,
    corpus: Sequence[str] = (),
    parts: Parts = PUBLISHED,
) -> Inspection:
    """Look into the embedding tables of any checkpoint.

        found = inspect_embeddings("runs/pretrain", Questions(words=["method"]))
        Path("report.html").write_text(found.page())

    Args:
        checkpoint: a run of ours or one of its checkpoints, a Hugging Face directory or name, a
            Google checkpoint, or tables alone as `save_tables` writes them.
        questions: None for the defaults.
        vocab: a vocab.txt, for a checkpoint that has none or another.
        corpus: text for frequencies and contexts, as `open_source` takes it, or a
            tokenised corpus; nothing takes that of the run, where the checkpoint is of one.
        parts: how the model makes the parts of its input representation; what one that has no
            table gives for every id is looked at instead.

    Raises:
        UserError: what is named is not there, or what was asked does not fit the checkpoint; or
            Plotly, which draws the figures, is not installed.
    """
    plotly_script()
    asked = questions or Questions()
    path_like("checkpoint", checkpoint, "a checkpoint, or tables")
    inspected = open_inspected(checkpoint, vocab, corpus, whole_model=bool(asked.sts), parts=parts)
    layers = 0 if inspected.model is None else inspected.model.config.num_hidden_layers
    if not -layers - 1 <= asked.layer <= layers:
        raise UserError(
            f"got layer={asked.layer}; expected 0, the input representation, to {layers}, the"
            " last, or a negative number that counts back from it"
        )
    findings = {}
    looks = _parts(inspected, asked)
    with ProgressBar("looking", len(looks)) as bar:
        for number, (name, look) in enumerate(looks.items()):
            bar.update(number, name)
            if (found := look()) is not None:
                findings[name] = found
    return Inspection(inspected, findings)


def _parts(inspected: Inspected, asked: Questions) -> dict[str, Callable[[], Finding | None]]:
    """What there is to look at, by name and in the order of the page; a call looks at it."""
    hidden = None
    if inspected.model is not None and (asked.sts or inspected.text is not None):
        hidden = HiddenStates(
            inspected.model.config, inspected.model.params["bert"], inspected.parts
        )
    elif asked.sts:
        raise UserError(
            f"got `sts` with checkpoint={inspected.checkpoint}, which holds embedding tables only;"
            " expected a"
            " checkpoint with an encoder, or no `sts`"
        )
    spectrum = tables.spectrum_of_ordinary(inspected)
    audit = _audit_of(inspected)
    parts: dict[str, Callable[[], Finding | None]] = {
        "overview": lambda: tables.overview(inspected)
    }
    if asked.text is not None:
        text, pair = asked.text, asked.pair
        parts["input"] = lambda: tables.input_representation(inspected, text, pair)
    elif inspected.tables.tokenizer is not None:
        text, pair = _EXAMPLE[0], asked.pair or _EXAMPLE[1]
        parts["input"] = lambda: tables.input_representation(
            inspected, text, pair if len(inspected.tables.segment) > 1 else None, cut=True
        )
    parts["geometry"] = lambda: tables.geometry(inspected, spectrum)
    parts["neighbours"] = lambda: words.neighbours_and_analogies(
        inspected, asked.words, asked.min_count, asked.neighbours, asked.analogies,
        asked.outliers, None if audit is None else audit.updates,
    )  # fmt: skip
    if "token" not in inspected.without_table:
        parts["unlearned"] = lambda: unlearned.unlearned(inspected, audit)
    if asked.similarity:
        parts["similarity"] = lambda: contexts.similarity_benchmarks(
            inspected, spectrum, asked.similarity, hidden, asked.layer, asked.occurrences
        )
    if asked.sts and hidden is not None:
        sts_states = hidden
        parts["sentences"] = lambda: contexts.sentence_similarity(inspected, sts_states, asked.sts)
    parts["positions"] = lambda: tables.positions(inspected)
    parts["segments"] = lambda: tables.segments(inspected)
    if inspected.text is not None and hidden is not None:
        word_states = hidden
        parts["first_attention"] = lambda: attention.first_attention(inspected)
        parts["contextuality"] = lambda: contexts.contextuality(inspected, word_states)
    if audit is not None:
        parts["updates"] = lambda: training.updates(inspected, audit)
    if asked.compare is not None:
        # At once: what cannot be compared is said before the rest has taken its time.
        compared = training.comparison(inspected, asked.compare)
        parts["comparison"] = lambda: compared
    if len(inspected.steps) > 1 and "token" not in inspected.without_table:
        parts["timeline"] = lambda: training.timeline(inspected)
    return parts


def _audit_of(inspected: Inspected) -> RunAudit | None:
    return read_audit(inspected.run, len(inspected.rows.pieces)) if inspected.run else None
