"""A real Chromium and a real report. Not part of the ordinary suite: `pytest -m browser`."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bert_jax.convert.ours import save_ours
from tests.analysis.inspectable import ANIMALS, COLOURS, SCRIPT, audit, checkpoint

LINES = "cat\tdog\t9\nred\tblue\t8\ncat\tred\t1\ncow\tgrey\t2\nhen\tpig\t7\n"


@pytest.fixture(scope="session")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra [browser]")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    """The report of a run with two checkpoints, made by the command itself, every part of it."""
    folder = tmp_path_factory.mktemp("browser")
    for step in (1, 2):
        save_ours(checkpoint(step), folder / "run" / "checkpoints" / str(step))
    np.savez(folder / "run" / "audit.npz", **audit())
    (folder / "pairs.tsv").write_text(LINES)
    (folder / "sentences.tsv").write_text(LINES.replace("cat", "a cat runs"))
    words = [*ANIMALS, *COLOURS]
    draw = np.random.default_rng(0)
    for number in range(3):
        text = " ".join(words[i] for i in draw.integers(0, len(words), 400))
        (folder / f"{number}.txt").write_text(text)
    line = [
        sys.executable, "-m", "experiments.inspect_embeddings", f"--checkpoint={folder}/run",
        f"--workdir={folder}/look", f"--similarity={folder}/pairs.tsv",
        f"--sts={folder}/sentences.tsv", f"--corpus={folder}/*.txt", "--min_count=0",
        f"--compare={folder}/run/checkpoints/1", f"--words=cat,{SCRIPT}",
    ]  # fmt: skip
    done = subprocess.run(line, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "look" / "report.html"
