"""The search box: the neighbours of every row of a table, packed into the page.

Rows and cosines are typed arrays in base64, which JavaScript unpacks in a moment: 120,000 rows
with ten neighbours each take 12 MB of the file.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Sequence
from html import escape

import numpy as np

from bert_jax.analysis.nearest import Neighbours
from bert_jax.analysis.report.page import embedded_json


@dataclasses.dataclass(frozen=True)
class Search:
    """A box in which any piece can be typed.

    Attributes:
        pieces: V strings.
        neighbours: ids and cosines [V, k]; of a row with fewer, the last are not shown.
        norms: [V].
        counts: [V] how often each piece occurs; None where nobody knows.
        updates: [V] how often each row was updated; None where nobody knows.
        first: the row that is shown before anything is typed; None for none.
        caption: how to read it.
    """

    pieces: Sequence[str]
    neighbours: Neighbours
    norms: np.ndarray
    counts: np.ndarray | None
    updates: np.ndarray | None
    first: int | None
    caption: str

    def html(self) -> str:
        """Return markup."""
        wide = len(self.pieces) > 2**16
        content = {
            "pieces": list(self.pieces),
            "k": self.neighbours.ids.shape[1],
            "wide": wide,
            "ids": _packed(self.neighbours.ids, "<u4" if wide else "<u2"),
            "cosines": _packed(np.rint(np.maximum(self.neighbours.cosines, -2) * 10_000), "<i2"),
            "norms": np.round(self.norms.astype(float), 3).tolist(),
            "counts": None if self.counts is None else _packed(self.counts, "<u4"),
            "updates": None if self.updates is None else _packed(self.updates, "<u4"),
            "first": self.first,
        }
        return (
            '<figure class=search id="search"><label for="piece">Look a piece up</label>'
            '<input id="piece" type="search" autocomplete="off" spellcheck="false" '
            'placeholder="a word, or ##ing">'
            '<div class=hits></div><div class=found aria-live="polite"></div>'
            f"<figcaption>{escape(self.caption)}</figcaption>{embedded_json(content)}</figure>"
        )


def _packed(values: np.ndarray, dtype: str) -> str:
    limits = np.iinfo(dtype)
    whole = np.clip(values, limits.min, limits.max).astype(dtype)
    return base64.b64encode(np.ascontiguousarray(whole).tobytes()).decode()
