"""The handbook has every page and every name of the face; `.ci/run` builds it and follows links."""

import pytest
import yaml

from tests.readme_blocks import ROOT
from tests.test_face import FACES

_CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text())


def test_every_page_stands_in_the_navigation_once():
    pages = [page for entry in _CONFIG["nav"] for page in _pages(entry)]
    there = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(pages) == sorted(there)


def _pages(entry):
    (inside,) = entry.values()
    return [inside] if isinstance(inside, str) else [page for one in inside for page in _pages(one)]


@pytest.mark.parametrize("face", FACES)
def test_the_reference_has_a_page_of_every_package(face):
    page = (ROOT / "docs/api" / f"{face.partition('.')[2] or 'face'}.md").read_text()
    assert page.endswith(f"::: {face}\n")  # with all that its stub exports, by mkdocs.yml
    options = _CONFIG["plugins"][2]["mkdocstrings"]["handlers"]["python"]["options"]
    assert options["members"] is True


def test_nothing_is_fetched():
    assert _CONFIG["theme"]["font"] is False and "offline" in _CONFIG["plugins"]
    (shim,) = _CONFIG["extra"]["polyfills"]
    assert "iframe-worker" in shim and (ROOT / "docs" / shim).is_file()
