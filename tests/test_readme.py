"""What README and docs name is there."""

import pkgutil
import re

import pytest

from tests.readme_blocks import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_file_the_tree_names_exists():
    tree = README.split("## What is where")[1].split("```")[1]
    names = re.findall(r"\w+\.py", tree)
    known = {path.name for path in ROOT.rglob("*.py")}
    assert len(names) > 20
    assert set(names) <= known


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: page.name
)
def test_every_path_and_every_name_of_ours_exists(page):
    text = page.read_text(encoding="utf-8")
    paths = re.findall(r"\b(?:bert_jax|experiments|launch|tests|docs)(?:/\w+)+(?:\.\w+)*", text)
    modules = re.findall(r"\b(?:experiments|launch)(?:\.[a-z]\w*)+", text)
    files = {path.name for path in ROOT.rglob("*.py")}
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert [file for file in re.findall(r"\b\w+\.py\b", text) if file not in files] == []
    assert [name for name in modules if not _is_module(name)] == []
    for name in re.findall(r"\bbert_jax(?:\.\w+)+", text):
        pkgutil.resolve_name(name)  # a module, or what one has


def _is_module(name):
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()
