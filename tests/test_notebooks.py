"""The notebooks of docs/notebooks run from the first cell to the last, in their small form."""

import json
import re

import matplotlib
import pytest

from tests.readme_blocks import ROOT, Block, run_block

NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))


def cells(notebook):
    """The code of a notebook, cell by cell; lines that only IPython knows do nothing."""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            yield re.sub(r"(?m)^( *)%.*$", r"\1pass", "".join(cell["source"]))


@pytest.mark.parametrize("names", ["123", "4"])
def test_notebooks_run_as_they_follow_one_another(tmp_path, monkeypatch, names):
    monkeypatch.setenv("BERT_JAX_SMALL", "1")
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")
    chosen = [notebook for notebook in NOTEBOOKS if notebook.name[0] in names]
    assert len(chosen) == len(names)
    for notebook in chosen:
        namespace = {"__name__": "__main__"}
        for number, code in enumerate(cells(notebook)):
            run_block(Block(notebook, 1000 * number + 1, code), namespace)
    matplotlib.pyplot.close("all")


def test_every_notebook_is_named_on_the_page_and_kept_without_output():
    page = (ROOT / "docs/notebook.md").read_text(encoding="utf-8")
    assert len(NOTEBOOKS) == 4
    for notebook in NOTEBOOKS:
        assert f"(notebooks/{notebook.name})" in page
        content = json.loads(notebook.read_text(encoding="utf-8"))
        assert not any(cell.get("outputs") for cell in content["cells"])
        assert 'find_spec("bert_jax")' in next(cells(notebook))  # the first cell installs
