"""The part of an inspection that suspects rows which training never taught."""

from __future__ import annotations

from typing import Any

import numpy as np

from bert_jax.analysis.inspection.finding import Finding, number_or_none
from bert_jax.analysis.inspection.inspected import Inspected
from bert_jax.analysis.inspection.training import RunAudit
from bert_jax.analysis.report.page import Numbers, Section, Table
from bert_jax.analysis.token_rows import KINDS
from bert_jax.analysis.unlearned import ALONG_MEAN, LOW_BIAS, TokenWeights, roc_auc, suspect

_SHOWN = 40


def unlearned(inspected: Inspected, audit: RunAudit | None) -> Finding:
    """The most suspect rows; and, where unused rows or an audit tell, how far to trust that."""
    table, none = inspected.token_table, np.array([], np.int64)
    weights = (
        TokenWeights(table, table, None, none)
        if inspected.model is None
        else TokenWeights.of(inspected.model.params, none)
    )
    indicator, scores = suspect(weights)
    rows, ordinary, counts = inspected.rows, inspected.rows.ordinary, inspected.counts
    shown = ordinary[np.argsort(-scores[ordinary], kind="stable")[:_SHOWN]]
    unused = rows.kinds == KINDS.index("unused")
    known = {"unused rows": _known(scores, unused, unused | _among(ordinary, len(unused)))}
    if audit is not None:
        known["rows never input"] = _known(
            scores, audit.as_input == 0, _among(ordinary, len(unused))
        )
    told = {name: found for name, found in known.items() if found is not None}
    numbers = {
        "by": indicator.name,
        "suspects": [
            {
                "piece": rows.pieces[row],
                "score": number_or_none(round(float(scores[row]), 5)),
                **({} if counts is None else {"times": int(counts[row])}),
                **({} if audit is None else {"steps as input": int(audit.as_input[row])}),
            }
            for row in shown
        ],
        "known": told,
    }
    return Finding(_section(numbers), numbers)


def _among(rows: np.ndarray, count: int) -> np.ndarray:
    return np.isin(np.arange(count), rows)


def _known(scores: np.ndarray, truth: np.ndarray, asked: np.ndarray) -> dict[str, Any] | None:
    """Rows that are known to be untaught, and how well the scores tell them from the others."""
    if not truth[asked].any() or truth[asked].all():
        return None
    auc = round(roc_auc(scores[asked], truth[asked]), 5)
    return {"rows": int(truth[asked].sum()), "of": int(asked.sum()), "roc_auc": auc}


def _section(numbers: dict[str, Any]) -> Section:
    columns = list(numbers["suspects"][0])
    known = tuple(
        (
            f"told from the rest: {name}", f"{found['roc_auc']:.1%}",
            f"ROC-AUC; {found['rows']:,} of {found['of']:,} rows; 50 % is chance",
        )
        for name, found in numbers["known"].items()
    )  # fmt: skip
    return Section(
        "unlearned", "Rows that training may never have taught",
        "A vocabulary can hold pieces that the training text does not. Their rows are noise, and "
        "what a model makes of them is too. These rows are suspected from the weights alone, by "
        f"{_BY[numbers['by']]}; the most suspect first.",
        (
            *((Numbers(known),) if known else ()),
            Table(
                tuple(columns),
                [tuple(row[name] for name in columns) for row in numbers["suspects"]],
            ),
        ),
    )  # fmt: skip


_BY = {
    LOW_BIAS.name: "the bias of the masked-LM head, which falls at every step that does not "
    "ask for the piece",
    ALONG_MEAN.name: "the cosine of a row with the mean of all rows, along which rows "
    "that are never asked for are pushed together",
}
