"""What `bert_jax` and its packages export: the names of their stubs, looked up when first used."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import bert_jax
from tests.experiments.runs import REPOSITORY

_ROOT = Path(bert_jax.__file__).parent
FACES = sorted(
    ".".join(stub.parent.relative_to(_ROOT.parent).parts) for stub in _ROOT.rglob("__init__.pyi")
)


def names(face):
    """What a stub says the package exports."""
    stub = Path(importlib.import_module(face).__file__).with_suffix(".pyi")
    imports = ast.parse(stub.read_text()).body
    assert all(alias.asname == alias.name for each in imports for alias in each.names)
    return sorted(alias.name for each in imports for alias in each.names)


@pytest.mark.parametrize("face", FACES)
def test_a_package_shows_what_its_stub_lists_and_nothing_else(face):
    package = importlib.import_module(face)
    listed = names(face)
    assert len(set(listed)) == len(listed)
    for name in listed:
        assert getattr(package, name) is not None
    assert dir(package) == package.__all__ == listed  # and so after all of them were imported
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = package.no_such_name


def imported(code):
    """The modules that a fresh interpreter holds after running `code`."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{code}\nimport sys; print(*sys.modules)"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.split("\n")[-2].split()


def test_every_package_has_a_face():
    packages = {
        f"bert_jax.{init.parent.name}"
        for init in _ROOT.glob("*/__init__.py")
        if init.parent.name != "cli"  # which serves the commands
    }
    assert packages == set(FACES) - {"bert_jax"}


def test_a_name_brings_what_it_needs_and_no_more():
    frameworks = {"jax", "flax", "numpy", "tensorflow", "torch"}
    assert not frameworks & set(imported("import bert_jax; bert_jax.__version__, dir(bert_jax)"))
    assert not {"jax", "flax"} & set(imported("from bert_jax import Tokenizer"))
    everything = "".join(f"from {face} import *\n" for face in FACES)
    assert not {"tensorflow", "torch"} & set(imported(everything))


def test_the_face_is_quick():
    timed = "import time; t = time.perf_counter(); import bert_jax; print(time.perf_counter() - t)"
    seconds = [
        float(subprocess.check_output([sys.executable, "-c", timed], cwd=REPOSITORY))
        for _ in range(3)
    ]
    assert min(seconds) < 0.1


def test_types_ship():
    assert (_ROOT / "py.typed").is_file()
