import math
import re
import xml.etree.ElementTree as ElementTree

import pytest

from bert_jax.figures import Lines, draw_intervals, draw_lines, draw_matrix, draw_points

SVG = "{http://www.w3.org/2000/svg}"
BLUE = "#1f5fa8"


def texts(svg):
    return [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def curves(svg):
    """The points of each blue line."""
    paths = [p for p in ElementTree.fromstring(svg).iter(f"{SVG}path") if p.get("clip-path")]
    blue = [p.get("d") for p in paths if f"stroke: {BLUE}" in p.get("style")]
    pairs = [re.findall(r"([\d.]+) ([\d.]+)", path) for path in blue]
    return [[(float(x), float(y)) for x, y in line] for line in pairs]


@pytest.mark.parametrize("log", [False, True])
def test_points_stand_where_they_should(log):
    points = [(1, 1), (10, 100), (100, 1e4)] if log else [(0, 0), (5, 5), (10, 10)]
    svg = draw_lines(Lines({"a": points}, "t", "x", "y", log_x=log, log_y=log))
    ((left, *_, right),) = curves(svg)  # a straight line needs no point in the middle
    assert left[0] < right[0] and left[1] > right[1]
    for between in curves(svg)[0][1:-1]:
        share = [(between[k] - left[k]) / (right[k] - left[k]) for k in (0, 1)]
        assert share == pytest.approx([0.5, 0.5], abs=1e-3)


def test_what_cannot_be_drawn_is_left_out():
    points = [(0, 1), (1, math.nan), (1, 0), (10, 10), (20, 20)]
    svg = draw_lines(Lines({"a": points}, log_x=True, log_y=True))
    assert svg == draw_lines(Lines({"a": points[3:]}, log_x=True, log_y=True))
    assert curves(draw_lines(Lines({}, "t", "x", "y", log_x=True, log_y=True))) == []


def test_the_same_numbers_give_the_same_bytes_and_names_are_shown_as_they_are():
    panel = Lines({"<a>": [(0, 0), (1, 1)], "$b$ 词": [(0, 1), (1, 0)]}, "a < b & $c$", "x", "y")
    svg = draw_lines(panel, panel)
    assert svg == draw_lines(panel, panel)
    assert [texts(svg).count(name) for name in ("<a>", "$b$ 词", "a < b & $c$")] == [2, 2, 2]


def test_a_long_line_is_a_small_file():
    gains = [(k + 10, 1e6 / (k + 1)) for k in range(40_000)]
    assert len(draw_lines(Lines({"gains": gains}, log_x=True, log_y=True))) < 40_000
    assert len(draw_points([(k, k) for k in range(40_000)], "t", "x", "y")) < 400_000


def test_dots_and_intervals_stand_where_they_should():
    panels = {"x": [(0, 5, 10), (0, 0, 5)], "y": [(0, 1, 1), (0, 0, 0)]}
    svg = draw_intervals("t", ["<a>", "b"], panels)
    assert texts(svg).count("<a>") == texts(svg).count("b") == 1
    dots = [
        (float(use.get("x")), float(use.get("y")))
        for use in ElementTree.fromstring(svg).iter(f"{SVG}use")
        if f"fill: {BLUE}" in (use.get("style") or "")
    ]
    assert len(dots) == 4
    assert dots[0][0] > dots[1][0] and dots[0][1] < dots[1][1] and dots[0][1] == dots[2][1]
    assert "t" in texts(draw_intervals("t", [], {"x": []}))


def test_a_matrix_counts_pairs():
    svg = draw_matrix({("a", "a"): 1234, ("a", "$b"): 7}, "true", "predicted")
    for name, times in {"1,234": 1, "7": 1, "a": 2, "$b": 2, "true": 1, "predicted": 1}.items():
        assert texts(svg).count(name) == times
    ElementTree.fromstring(draw_matrix({}, "true", "predicted"))
