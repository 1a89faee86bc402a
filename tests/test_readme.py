"""What the README shows must run."""

import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_example_runs(tmp_path, capsys):
    words = ["i", "like", "cats", "dogs"]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    (tmp_path / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces))
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    code = code.replace("runs/pretrain/vocab.txt", str(tmp_path / "vocab.txt"))
    code = code.replace("BertConfig.base(", "BertConfig.tiny(")  # the same in a second
    exec(code, {})
    assert capsys.readouterr().out.splitlines() == [
        "(1, 9, 128) (1, 9, 128) (1, 9, 128)",
        "(1, 9, 128) (1, 128)",
    ]


def test_every_file_the_tree_names_exists():
    root = Path(__file__).parents[1]
    tree = README.split("## What is where")[1].split("```")[1]
    names = re.findall(r"\w+\.py", tree)
    known = {path.name for path in root.rglob("*.py")}
    assert len(names) > 20
    assert set(names) <= known
