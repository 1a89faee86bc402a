"""Nothing of ours reads or writes pickles: to read one runs what it contains."""

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
FILES = [path for room in ("bert_jax", "experiments", "launch") for path in
         sorted((REPOSITORY / room).rglob("*.py"))]  # fmt: skip
PICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
ARRAYS = {"load", "save", "savez", "read_array", "write_array"}  # NumPy's, which may pickle
TORCH = "experiments/unpickle.py"  # its `weights_only` loader refuses what is no array


def pickling(tree):
    """Lines of a file that may pickle."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [each.name for each in node.names]
            names = names if isinstance(node, ast.Import) else [node.module or ""]
            if PICKLERS & {name.partition(".")[0] for name in names}:
                yield node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner, name = ast.unparse(node.func.value), node.func.attr
            refuses = {each.arg: ast.unparse(each.value) for each in node.keywords}
            if owner in ("np", "numpy", "np.lib.format") and name in ARRAYS:
                if refuses.get("allow_pickle") != "False":
                    yield node.lineno
            elif owner == "torch" and name == "load" and refuses.get("weights_only") != "True":
                yield node.lineno


def test_nothing_pickles():
    assert len(FILES) > 200
    for path in FILES:
        found = list(pickling(ast.parse(path.read_text(encoding="utf-8"))))
        assert not found, f"{path.relative_to(REPOSITORY)}: {found}"


@pytest.mark.parametrize(
    "text", ["import pickle", "from joblib import load", "np.load(f)", "torch.load(f)",
             "np.load(f, allow_pickle=True)", "np.save(f, x)"],
)  # fmt: skip
def test_what_pickles_is_found(text):
    assert list(pickling(ast.parse(text))) == [1]
