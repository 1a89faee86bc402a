import json
import re
import sys

import numpy as np
import pytest

from bert_jax.analysis.nearest import Neighbours
from bert_jax.analysis.report import page
from bert_jax.analysis.report.input_figure import InputFigure
from bert_jax.analysis.report.page import Numbers, Plot, Section, Side, Table, Words, render_page
from bert_jax.analysis.report.plots import lines, points
from bert_jax.analysis.report.search import Search
from bert_jax.analysis.representation import Representation
from bert_jax.errors import UserError

NASTY = "</script><script>alert('x')</script>&amp;\u2028\"<b>"


def whole(*blocks):
    return render_page(NASTY, NASTY, [Section("one", NASTY, NASTY, blocks)])


def search(pieces, ids, cosines, **changes):
    options = {"counts": None, "updates": None, "first": 0, "caption": NASTY} | changes
    return Search(
        pieces, Neighbours(np.array(ids), np.array(cosines)), np.ones(len(pieces)), **options
    )


def representation(pieces):
    n = len(pieces)
    return Representation(
        tuple(pieces), np.arange(n), np.zeros(n, int), np.arange(n), np.ones((3, n, 4)),
        np.ones((n, 4)) * 3, np.ones((4, n)), np.ones((3, n)),
    )  # fmt: skip


def test_nothing_a_user_wrote_is_markup():
    figure = points({NASTY: (np.zeros(1), np.zeros(1), [NASTY])}, NASTY, NASTY)
    blocks = (
        Words(NASTY), Numbers(((NASTY, NASTY, NASTY),)), Table((NASTY,), [(NASTY,)], NASTY),
        Side((Plot("p", NASTY, NASTY, figure),)), search([NASTY, "a"], [[1], [0]], [[1.0], [1]]),
        InputFigure(representation([NASTY]), NASTY),
    )  # fmt: skip
    text = whole(*blocks).replace(page.plotly_script(), "")
    assert text.count("<script") == text.count("</script") == 4  # Plotly, ours, plot, search
    assert "alert('x')</script>" not in text
    assert "<b>" not in text
    held = re.findall(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
    assert len(held) == 2 and not any(set("<>&\u2028") & set(one) for one in held)
    assert json.loads(held[1])["pieces"] == [NASTY, "a"]
    # Plotly would take "<b>" for bold: it gets the text escaped, and shows it as it was.
    assert json.loads(held[0])["data"][0]["text"] == [
        NASTY.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    ]


def test_the_page_may_load_nothing():
    text = whole()
    assert "default-src 'none'" in text
    ours = text.replace(page.plotly_script(), "")
    assert not re.search(r"https?://|src=|@import|url\(", ours)


def test_no_number_that_json_lacks_reaches_the_page():
    figure = lines({"a": (np.arange(3.0), np.array([1.0, np.nan, np.inf]))}, "x", "y")
    held = re.search(r"json\">(.*?)</script>", Plot("p", "", "", figure).html(), re.DOTALL)[1]
    assert json.loads(held)["data"][0]["y"] == [1.0, None, None]


@pytest.mark.parametrize(("rows", "width"), [(5, 2), (2**16 + 1, 4)])
def test_neighbours_are_packed_as_wide_as_they_need(rows, width):
    import base64

    ids = np.stack([np.arange(rows)[::-1], np.arange(rows)], axis=1)
    html = search(
        [f"p{i}" for i in range(rows)], ids, np.tile([0.87654, -0.5], (rows, 1)),
        counts=np.arange(rows),
    ).html()  # fmt: skip
    held = json.loads(re.search(r"json\">(.*?)</script>", html, re.DOTALL)[1])
    assert held["wide"] is (width == 4) and held["k"] == 2
    packed = np.frombuffer(base64.b64decode(held["ids"]), f"<u{width}")
    np.testing.assert_array_equal(packed.reshape(rows, 2), ids)
    cosines = np.frombuffer(base64.b64decode(held["cosines"]), "<i2")
    assert cosines[:2].tolist() == [8765, -5000]
    assert np.frombuffer(base64.b64decode(held["counts"]), "<u4").tolist() == list(range(rows))


def test_a_column_of_numbers_stands_to_the_right():
    html = Table(("a", "b"), [("x", "1,000"), ("y", "99.5%")]).html()
    assert "<td>x</td><td class=n>1,000</td>" in html


def test_without_plotly_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(UserError, match=r"python3 -m pip install -e '\.\[report\]'"):
        page.plotly_script()
