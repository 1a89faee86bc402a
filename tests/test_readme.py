"""What the README's tree names is there."""

import re

from tests.readme_blocks import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_file_the_tree_names_exists():
    tree = README.split("## What is where")[1].split("```")[1]
    names = re.findall(r"\w+\.py", tree)
    known = {path.name for path in ROOT.rglob("*.py")}
    assert len(names) > 20
    assert set(names) <= known
