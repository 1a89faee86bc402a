"""The input representation drawn as in the paper's Figure 2, with the vectors in its boxes."""

from __future__ import annotations

import dataclasses
from html import escape

import numpy as np

from bert_jax.analysis.representation import PART_NAMES, Representation

_CELLS = 24  # into which the D dimensions of a vector are gathered
_LETTERS = "ABCDEFGH"


@dataclasses.dataclass(frozen=True)
class InputFigure:
    """Boxes for pieces, three parts and their sum; in each box a strip of the vector itself."""

    representation: Representation
    caption: str

    def html(self) -> str:
        """Return markup."""
        r = self.representation
        scale = max(float(np.percentile(np.abs(r.sum), 99)), 1e-12)
        length = len(r.pieces)
        rows = [_row("input", [_box("piece", piece, (), "") for piece in r.pieces])]
        labels = (
            [f"<i>E</i><sub>{escape(piece)}</sub>" for piece in r.pieces],
            [f"<i>E</i><sub>{_segment_name(s)}</sub>" for s in r.segments],
            [f"<i>E</i><sub>{p}</sub>" for p in r.positions],
        )
        for part, name in enumerate(PART_NAMES):
            if part:
                rows.append(_row("", ["<div class=plus>+</div>"] * length))
            boxes = []
            for at in range(length):
                kind = f"segment-{r.segments[at] % 2}" if name == "segment" else name
                notes = (f"|·| {r.norms[part, at]:.2f}", f"cos {r.cosines[part, at]:.2f}")
                boxes.append(_box(kind, None, notes, _strip(r.parts[part, at], scale),
                                  labels[part][at]))  # fmt: skip
            rows.append(_row(f"{name} embedding", boxes))
        rows.append(_row("", ["<div class=plus>=</div>"] * length))
        rows.append(
            _row("sum", [
                _box("sum", None, (f"|·| {r.norms[3, at]:.2f}",), _strip(r.sum[at], scale), "Σ")
                for at in range(length)
            ])
        )  # fmt: skip
        grid = f"grid-template-columns: 6.2rem repeat({length}, auto)"
        return (
            f'<figure class=input id="input-figure"><div class=scroll>'
            f'<div class=grid style="{grid}">{"".join(rows)}</div></div>'
            f"<figcaption>{escape(self.caption)}</figcaption></figure>"
        )


def _row(name: str, cells: list[str]) -> str:
    return f"<div class=name>{escape(name)}</div>" + "".join(cells)


def _box(kind: str, text: str | None, notes: tuple[str, ...], strip: str, markup: str = "") -> str:
    label = markup if text is None else escape(text)
    small = "".join(f"<small>{escape(note)}</small>" for note in notes)
    title = f' title="{escape(text, quote=True)}"' if text else ""
    return f'<div class="box {kind}"{title}>{label}{small}{strip}</div>'


def _segment_name(segment: int) -> str:
    return _LETTERS[segment] if segment < len(_LETTERS) else str(segment)


def _strip(vector: np.ndarray, scale: float) -> str:
    """The vector as a row of cells: blue below 0, red above, as strong as it is long."""
    cells = np.array([part.mean() for part in np.array_split(vector, min(_CELLS, len(vector)))])
    # A mean of n numbers is about √n smaller than they are.
    strength = np.clip(cells * np.sqrt(len(vector) / len(cells)) / scale, -1, 1)
    marks = "".join(
        f'<rect x="{i}" width="1" height="1" fill="{"#c2452d" if s > 0 else "#2f6fae"}" '
        f'fill-opacity="{abs(s):.2f}"/>'
        for i, s in enumerate(strength)
    )
    return (
        f'<svg viewBox="0 0 {len(cells)} 1" preserveAspectRatio="none" aria-hidden="true">'
        f"{marks}</svg>"
    )
