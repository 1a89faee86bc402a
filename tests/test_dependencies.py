"""What is imported is declared, and the core does without what the extras bring."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from bert_jax.extras import EXTRA_OF
from tests.experiments.runs import REPOSITORY

_PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]

# Files that are about one extra and import it at once; nothing imports them but in functions.
_HOMES = {
    "bert_jax/data/beam_counts.py": "apache_beam",
    "bert_jax/data/table_files.py": "pyarrow",
    "bert_jax/data/tfds_text.py": "tensorflow_datasets",
}
# For Python without the package: each names what it needs in its docstring or message.
_ELSEWHERE = {
    *("torch", "transformers", "libtpu", "tensorflow", "apache_beam", "faiss"),
    *("distributed", "grpc"),  # of the extra [dask], and of Beam: where a runner is asked for
}


def distributions(requirements):
    """Names of distributions, as pip writes them."""
    names = (re.match(r"[\w.-]+", requirement)[0] for requirement in requirements)
    return {re.sub(r"[-_.]+", "-", name).lower() for name in names} - {"bert-jax"}


def imports(tree):
    """Third-party modules imported by a syntax tree, with the statement each."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules = [node.module]
        else:
            continue
        for module in modules:
            name = module.partition(".")[0]
            if name not in {*sys.stdlib_module_names, "bert_jax", "experiments", "launch"}:
                yield name, node


def test_every_import_is_declared_in_the_core_or_in_the_extra_that_users_are_told():
    core = distributions(_PROJECT["dependencies"])
    extras = {
        name: distributions(needs) for name, needs in _PROJECT["optional-dependencies"].items()
    }
    provides = importlib.metadata.packages_distributions()
    used = set()
    for path in (p for top in ("bert_jax", "experiments", "launch") for p in Path(top).rglob("*")):
        if path.suffix != ".py":
            continue
        tree = ast.parse(path.read_text())
        for module, node in imports(tree):
            used.add(module)
            if module in _ELSEWHERE:
                continue
            declared = extras[EXTRA_OF[module]] if module in EXTRA_OF else core
            of = distributions(provides[module])
            assert of & declared, f"{path}: {module} of {of} is not in {declared}"
            if module in EXTRA_OF and node in tree.body:
                assert _HOMES.get(path.as_posix()) == module, f"{path} imports {module} at once"
    unused = core | set().union(*(extras[name] for name in set(EXTRA_OF.values())))
    for module in used | {"importlib_resources"}:
        unused -= distributions(provides.get(module, []))
    assert unused == set()


_BLOCKED = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(EXTRA_OF)}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
"""


def run_blocked(code, *arguments, cwd):
    """Run a program where no extra is installed."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _BLOCKED + code, *map(str, arguments)],
        cwd=cwd, env={"PYTHONPATH": str(REPOSITORY), "PATH": ""},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


_CORE = """
from flax import nnx
from bert_jax import (
    Bert, BertConfig, BertForPretraining, FeatureExtractor, MaskFiller, Tokenizer, load_pretrained
)
pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cats"]
config = BertConfig.tiny(vocab_size=len(pieces))
BertForPretraining(config, rngs=nnx.Rngs(0)).save_pretrained("saved", tokenizer=Tokenizer(pieces))
bert = Bert.from_pretrained("saved")
print(bert([[2, 5, 6, 3]]).last_hidden_state.shape)
saved = load_pretrained("saved")
print(next(FeatureExtractor(saved).extract(["the cats"])))
print(next(MaskFiller(saved).fill(["the [MASK]"])))
"""


def test_the_core_opens_and_runs_models_without_the_extras(tmp_path):
    done = run_blocked(_CORE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_missing_extra_is_one_line(tmp_path):
    (tmp_path / "text.txt").write_text("Some words. Some more words.\n")
    code = "import runpy; runpy.run_module('experiments.learn_vocab', run_name='__main__')"
    done = run_blocked(code, "--input=text.txt", "--output=vocab.txt", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "got no module numba; expected it to be installed: " in done.stderr
    assert "-e '.[data]'" in done.stderr
