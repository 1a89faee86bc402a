"""The report in a real, headless Chromium."""

import dataclasses

import pytest

from tests.analysis.inspectable import ANIMALS, PIECES, SCRIPT

pytestmark = pytest.mark.browser

SECTIONS = [
    "overview", "input", "tokens", "neighbours", "unlearned", "similarity",
    "sentences", "positions", "segments", "first-attention", "contextuality", "updates",
    "comparison", "timeline",
]  # fmt: skip


@dataclasses.dataclass
class Opened:
    """A page, what it said on its console, and what it asked the network for."""

    page: object
    console: list
    requests: list


@pytest.fixture(scope="module", params=["light", "dark"])
def opened(chromium, report, request):
    context = chromium.new_context(color_scheme=request.param, offline=True)
    page = context.new_page()
    found = Opened(page, [], [])
    page.on("console", lambda message: found.console.append(message.text))
    page.on("pageerror", lambda error: found.console.append(str(error)))
    page.on("request", lambda asked: found.requests.append(asked.url))
    page.goto(report.as_uri())
    page.wait_for_selector("body[data-drawn]", timeout=60_000)
    yield found
    context.close()


def test_it_loads_in_silence_and_asks_for_nothing(opened, report):
    assert opened.console == []
    assert opened.requests == [report.as_uri()]


def test_every_section_is_there_and_every_figure_is_drawn(opened):
    page = opened.page
    assert [s.get_attribute("id") for s in page.query_selector_all("section")] == SECTIONS
    figures = page.query_selector_all("figure.plot")
    assert len(figures) > 20
    for figure in figures:
        drawn = figure.evaluate(
            "f => f.querySelectorAll('.main-svg .trace, .main-svg .hm image, .main-svg .point')"
            ".length"
        )
        box = figure.query_selector(".main-svg").bounding_box()
        assert drawn > 0, figure.get_attribute("id")
        assert box["width"] > 200 and box["height"] > 100, figure.get_attribute("id")


def test_nothing_is_wider_than_the_window(opened):
    wide, window = opened.page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert wide <= window


def neighbours(page):
    return [b.inner_text() for b in page.query_selector_all(".found tbody button")]


def test_a_word_that_is_typed_lists_its_neighbours(opened):
    page = opened.page
    page.fill("#piece", "cat")
    assert page.inner_text(".found h3") == "cat"
    assert "seen " in page.inner_text(".found p")
    assert sorted(neighbours(page)[:4]) == sorted(set(ANIMALS) - {"cat"})
    cosines = [
        float(c.inner_text()) for c in page.query_selector_all(".found tbody tr td:nth-child(2)")
    ]
    assert cosines == sorted(cosines, reverse=True) and cosines[3] > 0.9


def test_a_neighbour_that_is_clicked_is_looked_up_itself(opened):
    page = opened.page
    page.fill("#piece", "dog")
    first = neighbours(page)[0]
    page.click(".found tbody button >> nth=0")
    assert page.inner_text(".found h3") == first
    assert page.input_value("#piece") == first


def test_a_part_of_a_piece_offers_the_pieces_that_hold_it(opened):
    page = opened.page
    page.fill("#piece", "##")
    assert [b.inner_text() for b in page.query_selector_all(".hits button")] == ["##s", "##ing"]
    page.press("#piece", "Enter")
    assert page.inner_text(".found h3") == "##s"
    page.fill("#piece", "zebra")
    assert "No piece holds “zebra”" in page.inner_text(".hits")


@pytest.mark.parametrize("piece", [SCRIPT, "<b>bold</b>", "&amp;", '"quoted"'])
def test_a_piece_that_looks_like_markup_is_text(opened, piece):
    page = opened.page
    page.fill("#piece", piece)
    assert page.inner_text(".found h3") == piece
    assert piece in [b.inner_text() for b in page.query_selector_all(".hits button")]
    assert page.evaluate("document.body.dataset.attacked") is None
    assert page.evaluate("document.querySelectorAll('main b').length") == 0


def test_a_hover_shows_such_a_piece_as_it_is(opened):
    """Plotly has markup of its own; what it shows of a point must still be the piece."""
    page = opened.page
    row = page.evaluate(
        """() => {
            const canvas = document.querySelector("#figure-map .canvas");
            for (const [c, trace] of canvas.data.entries()) {
                const p = trace.text.findIndex(text => text.includes("&lt;b&gt;"));
                if (p >= 0) {
                    Plotly.Fx.hover(canvas, [{curveNumber: c, pointNumber: p}]);
                    return p;
                }
            }
            return -1;
        }"""
    )
    assert row >= 0
    shown = page.text_content("#figure-map .hoverlayer")
    assert shown.startswith("<b>bold</b>")


def test_the_figures_follow_the_theme(opened):
    page = opened.page
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(
            "() => document.querySelector('#figure-lengths .canvas').layout.font.color.trim() ==="
            " getComputedStyle(document.documentElement).getPropertyValue('--ink').trim()"
        )
        ink = page.evaluate("document.querySelector('#figure-lengths .canvas').layout.font.color")
        assert ink == {"dark": "#e3e5e8", "light": "#22262b"}[scheme]


def test_a_narrow_window_is_enough(chromium, report):
    page = chromium.new_page(viewport={"width": 390, "height": 800})
    page.goto(report.as_uri())
    page.wait_for_selector("body[data-drawn]", timeout=60_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


def test_the_vocabulary_of_these_tests_holds_what_could_do_harm():
    assert {SCRIPT, "<b>bold</b>", "&amp;"} <= set(PIECES)
