import xml.etree.ElementTree as ElementTree

from experiments.interval_plot import interval_plot

SVG = "{http://www.w3.org/2000/svg}"


def test_dots_and_intervals_stand_where_they_should():
    plot = interval_plot(
        "t", ["<a>", "b"], {"x": [(0, 5, 10), (0, 0, 5)], "y": [(0, 1, 1), (0, 0, 0)]}
    )
    root = ElementTree.fromstring(plot)
    dots = [(dot.get("cx"), dot.get("cy")) for dot in root.iter(f"{SVG}circle")]
    assert dots == [("215.0", "65.0"), ("130.0", "87.0"), ("494.0", "65.0"), ("324.0", "87.0")]
    blue = [path.get("d") for path in root.iter(f"{SVG}path") if path.get("stroke") == "#1f5fa8"]
    assert blue[:2] == ["M130.0 65.0H300.0", "M130.0 87.0H215.0"]
    assert [text.text for text in root.iter(f"{SVG}text")][1:3] == ["<a>", "b"]
