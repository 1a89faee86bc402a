"""What README and docs name is there."""

import pkgutil
import re

import pytest

from tests.readme_blocks import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def test_every_file_the_tree_names_exists():
    tree = README.split("## What is where")[1].split("```")[1]
    names = re.findall(r"\w+\.py", tree)
    known = {path.name for path in ROOT.rglob("*.py")}
    assert len(names) > 20
    assert set(names) <= known


def test_the_tree_names_every_file_at_the_top():
    tree = README.split("## What is where")[1].split("```")[1]
    kinds = {".md", ".cff", ".toml", ".cfg", ".txt", ".yml", ""}
    files = [path for path in ROOT.iterdir() if path.is_file() and path.name[0] != "."]
    assert [path.name for path in files if path.suffix in kinds and path.name not in tree] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        there = (page.parent / path) if path else page
        assert there.exists(), target
        assert not anchor or anchor in _anchors(there), target


def _anchors(page):
    """What a page's headings are called in links."""
    headings = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.M)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_and_every_name_of_ours_exists(page):
    text = page.read_text(encoding="utf-8")
    paths = re.findall(r"\b(?:bert_jax|experiments|launch|tests|docs)(?:/\w+)+(?:\.\w+)*", text)
    modules = re.findall(r"\b(?:experiments|launch)(?:\.[a-z]\w*)+", text)
    made = re.findall(r"\bcat >(\w+)\.py", text)  # by the reader
    files = {path.name for path in ROOT.rglob("*.py")} | {f"{name}.py" for name in made}
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert [file for file in re.findall(r"\b\w+\.py\b", text) if file not in files] == []
    modules = [name for name in modules if name.split(".")[1] not in made]
    assert [name for name in modules if not _is_module(name)] == []
    for name in re.findall(r"\bbert_jax(?:\.\w+)+", text):
        pkgutil.resolve_name(name)  # a module, or what one has


def _is_module(name):
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()
