"""The Python blocks of README and docs run, in order, after README's own pretraining.

Learning the 8,192 pieces from the default corpus takes most of the time, once a session.
"""

import os
import subprocess
import sys

import pytest

from bert_jax import Bert, BertConfig, Tokenizer
from tests.readme_blocks import ROOT, Block, python_blocks, run_block, run_commands, run_page

README = (ROOT / "README.md").read_text(encoding="utf-8")
# Pages whose blocks run after README's pretraining, each in a namespace of its own.
PAGES = [
    "README.md", "docs/notebook.md", "docs/checkpoints.md", "docs/tokenizer.md",
    "docs/sentence_scores.md", "docs/embedding_laboratory.md",
]  # fmt: skip
# The handbook's pages that go on from one another, in its order, in one folder.
WALK = [
    "first_model", "look_into_tables", "start_from_a_model", "machines", "swap_an_embedding",
    "add_a_head", "write_an_experiment", "text_to_gradient",
]  # fmt: skip


@pytest.fixture(scope="session")
def pretrained_folder(tmp_path_factory):
    """A folder in which README's first command has been run, of two steps: `runs/pretrain`."""
    folder = tmp_path_factory.mktemp("reader")
    assert "python3 -m experiments.pretrain " in README  # these defaults, but for the steps
    done = subprocess.run(
        [sys.executable, "-m", "experiments.pretrain", "--steps=2", "--eval_batches=1"],
        cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The one model of the hub that the pages name, with random weights: tests have no network."""
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cats"]

    def snapshot(name, **_):
        assert name == "bert-base-uncased"
        if not (tmp_path / name).exists():
            Bert(BertConfig.base(num_hidden_layers=1), _rngs()).save_pretrained(
                tmp_path / name, Tokenizer(vocab)
            )
        return str(tmp_path / name)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)


def _rngs():
    from flax import nnx

    return nnx.Rngs(0)


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_do_what_they_say(page, pretrained_folder, hub, monkeypatch):
    monkeypatch.chdir(pretrained_folder)
    blocks = python_blocks(ROOT / page)
    assert blocks
    namespace = {}
    for block in blocks:
        run_block(block, namespace)


def test_a_reader_can_walk_through_the_handbook(tmp_path):
    for name in WALK:
        assert run_page(ROOT / "docs" / f"{name}.md", tmp_path)


def test_a_command_that_fails_or_prints_something_else_is_found(tmp_path):
    page = tmp_path / "page.md"
    run_commands(Block(page, 1, "echo a; echo b 7\n", "a\nb …\n"), tmp_path)
    with pytest.raises(AssertionError, match=r"page\.md:1: status 3"):
        run_commands(Block(page, 1, "exit 3 | true; echo a\n", None), tmp_path)
    with pytest.raises(AssertionError, match=r"page\.md:2:\na"):
        run_commands(Block(page, 2, "echo a\n", "b\n"), tmp_path)


def test_a_claim_that_is_not_so_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n\n```python\nx = 2\nprint(x)  # 2\nx + 1  # 4\n```\n")
    (block,) = python_blocks(page)
    assert (block.line, block.code) == (4, "x = 2\nprint(x)  # 2\nx + 1  # 4\n")
    with pytest.raises(AssertionError, match=r"page\.md:6 claims '4', and '3' comes out"):
        run_block(block, {})
    run_block(Block(page, 4, "print('loss', 0.25)  # loss …\n[1,\n 2]  # [1, 2]\n"), {})
