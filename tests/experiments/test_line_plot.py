import math
import xml.etree.ElementTree as ElementTree

from experiments.line_plot import line_plot, stacked

SVG = "{http://www.w3.org/2000/svg}"


def lines_of(text):
    return [line.get("points") for line in ElementTree.fromstring(text).iter(f"{SVG}polyline")]


def test_points_stand_where_they_should():
    plot = line_plot({"<a>": [(0, 0), (5, 5), (10, 10)]}, "t", "x", "y")
    assert lines_of(plot) == ["80.0,360.0 285.0,200.0 490.0,40.0"]
    assert "&lt;a&gt;" in plot


def test_on_logarithmic_axes_a_power_is_a_straight_line():
    plot = line_plot({"a": [(1, 1), (10, 100), (100, 1e4)]}, "t", "x", "y", log_x=True, log_y=True)
    assert lines_of(plot) == ["80.0,360.0 285.0,200.0 490.0,40.0"]


def test_what_cannot_be_drawn_is_left_out():
    points = [(0, 1), (1, math.nan), (1, 0), (10, 10)]
    plot = line_plot({"a": points}, "t", "x", "y", log_x=True, log_y=True)
    assert lines_of(plot) == ["80.0,360.0"]  # 10 is the least power of ten left
    assert lines_of(line_plot({}, "t", "x", "y", log_x=True, log_y=True)) == []


def test_plots_below_each_other():
    one = line_plot({"a": [(0, 0), (1, 1)]}, "t", "x", "y")
    both = ElementTree.fromstring(stacked(one, one))
    assert [plot.get("y") for plot in both.findall(f"{SVG}svg")] == ["0", "420"]
    assert both.get("viewBox") == "0 0 720 840"
