"""One self-contained HTML page of sections: text, numbers, tables and interactive figures.

Everything a section holds is text until it is escaped here: a piece named `<script>` is shown as
its eight characters. The page opens from a file, offline, and its content security policy forbids
it to load anything.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Any, Protocol

from bert_jax.errors import UserError

if TYPE_CHECKING:
    import plotly.graph_objects as go


class Block(Protocol):
    """Something a section shows."""

    def html(self) -> str:
        """Return markup in which all text is escaped."""
        ...


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page with a heading of its own.

    Attributes:
        key: names the section in links; letters, digits and hyphens.
        title: the heading.
        lead: one or two sentences: what is seen here, and how to read it.
        blocks: what it shows, in order.
    """

    key: str
    title: str
    lead: str
    blocks: tuple[Block, ...]


@dataclasses.dataclass(frozen=True)
class Words:
    """A paragraph."""

    text: str

    def html(self) -> str:
        """Return markup."""
        return f"<p>{escape(self.text)}</p>"


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Figures in large type: (what it is, the figure, how to read it) each."""

    items: tuple[tuple[str, str, str], ...]

    def html(self) -> str:
        """Return markup."""
        tiles = "".join(
            f"<div class=number><dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
            f"<p>{escape(hint)}</p></div>"
            for name, value, hint in self.items
        )
        return f"<dl class=numbers>{tiles}</dl>"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; columns whose cells are all numbers stand to the right."""

    headings: tuple[str, ...]
    rows: Sequence[Sequence[object]]
    caption: str = ""

    def html(self) -> str:
        """Return markup."""
        numeric = [
            bool(self.rows) and all(_is_numeric(row[i]) for row in self.rows)
            for i in range(len(self.headings))
        ]
        head = "".join(_cell("th", h, n) for h, n in zip(self.headings, numeric, strict=True))
        body = "".join(
            "<tr>" + "".join(_cell("td", c, n) for c, n in zip(row, numeric, strict=True)) + "</tr>"
            for row in self.rows
        )
        caption = f"<figcaption>{escape(self.caption)}</figcaption>" if self.caption else ""
        return (
            f"<figure class=table><div class=scroll><table><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table></div>{caption}</figure>"
        )


@dataclasses.dataclass(frozen=True)
class Plot:
    """An interactive figure.

    Attributes:
        key: its name in the page.
        title: what it shows.
        caption: how to read it.
        figure: its data and layout; texts in it are Plotly's, see `plots.literal`.
        height: in pixels.
    """

    key: str
    title: str
    caption: str
    figure: go.Figure
    height: int = 380

    def html(self) -> str:
        """Return markup."""
        key = escape(self.key, quote=True)
        return (
            f'<figure class=plot id="figure-{key}"><h3>{escape(self.title)}</h3>'
            f'<div class=canvas style="height:{self.height}px"></div>'
            f"<figcaption>{escape(self.caption)}</figcaption>"
            f"{embedded_json(json.loads(self.figure.to_json()))}</figure>"
        )


@dataclasses.dataclass(frozen=True)
class Side:
    """Blocks beside each other where the window is wide enough."""

    blocks: tuple[Block, ...]

    def html(self) -> str:
        """Return markup."""
        return f"<div class=side>{''.join(block.html() for block in self.blocks)}</div>"


def render_page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """Return the whole page.

    Raises:
        UserError: the extra that brings Plotly is not installed.
    """
    links = "".join(f'<li><a href="#{s.key}">{escape(s.title)}</a></li>' for s in sections)
    body = "".join(_section(section) for section in sections)
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">\n'
        f"<title>{escape(title)}</title>\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:\">\n"
        '<link rel="icon" href="data:,">\n'
        f"<style>{_asset('page.css')}</style>\n"
        "</head><body>\n"
        f"<header><h1>{escape(title)}</h1><p>{escape(subtitle)}</p></header>\n"
        f"<nav><ol>{links}</ol></nav>\n<main>{body}</main>\n"
        f"<script>{plotly_script()}</script>\n<script>{_asset('page.js')}</script>\n"
        "</body></html>\n"
    )


def plotly_script() -> str:
    """Plotly's own script, from its package.

    Raises:
        UserError: it is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise UserError(
            "got no plotly, which draws the report's figures; expected it to be installed:"
            " python3 -m pip install -e '.[report]'"
        ) from None
    return get_plotlyjs()


def embedded_json(content: Any) -> str:
    """A script element that holds `content` as JSON and cannot be left from inside it."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f'<script type="application/json">{text}</script>'


def _section(section: Section) -> str:
    blocks = "".join(block.html() for block in section.blocks)
    return (
        f'<section id="{section.key}"><h2>{escape(section.title)}</h2>'
        f"<p class=lead>{escape(section.lead)}</p>{blocks}</section>"
    )


def _cell(tag: str, content: object, numeric: bool) -> str:
    return f"<{tag}{' class=n' if numeric else ''}>{escape(str(content))}</{tag}>"


def _is_numeric(content: object) -> bool:
    text = str(content).strip().rstrip("%°").replace(",", "").replace("−", "-")
    try:
        float(text)
    except ValueError:
        return text in ("", "–")
    return True


@functools.cache
def _asset(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")
