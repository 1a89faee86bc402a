"""Imports go down: which package may import which, and that there is no circle among them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import bert_jax

_ROOT = Path(bert_jax.__file__).parents[1]
_TOPS = ("bert_jax", "experiments", "launch")

# Each room may import those before it, and itself. Modules beside the packages are the base.
_BASE = {
    "arguments",
    "array_reading",
    "array_digests",
    "bit_mixing",
    "bucket",
    "bucket_lock",
    "extras",
    "lock",
    "memory",
    "mirror",
    "owner",
    "disk",
    "errors",
    "figures",
    "first_process",
    "file_digests",
    "file_names",
    "hub",
    "json_reading",
    "config",
    "console",
    "parameters",
    "pooling",
    "pretrained_paths",
    "progress",
    "settings",
    "statistics",
    "stop_request",
    "version",
    "waiting",
    "whole_file",
}
_BELOW: dict[str, set[str]] = {}
_BELOW["text"] = _BASE
_BELOW["data"] = _BASE | {"text"}
_BELOW["checkpoint_files"] = _BASE
_BELOW["checkpoints"] = _BASE | {"checkpoint_files"}
_BELOW["kernels"] = _BASE
_BELOW["convert"] = _BASE | {"text", "checkpoint_files", "checkpoints"}
_BELOW["model"] = _BELOW["convert"] | {"kernels", "convert"}
_BELOW["tables"] = _BELOW["convert"] | {"convert", "model"}
_BELOW["training"] = _BELOW["tables"] | {"kernels", "data", "tables"}
_BELOW["tasks"] = _BELOW["training"] | {"training"}
_BELOW["inference"] = _BELOW["tasks"] | {"tasks"}
_BELOW["analysis"] = _BELOW["inference"] | {"inference"}
_BELOW["cli"] = _BASE
_LIBRARY = _BELOW["analysis"] | {"analysis", "cli"}
_BELOW["experiments"] = _LIBRARY
_BELOW["launch"] = _LIBRARY

# What is not yet so. Take out what you mend; this shall become empty.
_NOT_YET: set[tuple[str, str]] = set()


def _modules(path: Path) -> Iterator[tuple[str, ...]]:
    """What a file imports anywhere, in functions and for type checkers too, name by name."""
    package = path.relative_to(_ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = start + tuple(node.module.split(".") if node.module else ())
            yield from ((*module, alias.name) for alias in node.names)


# `from bert_jax import Bert` imports what stands behind that name.
_FACE = {
    alias.name: tuple(node.module.split("."))
    for node in ast.parse((_ROOT / "bert_jax" / "__init__.pyi").read_text()).body
    if isinstance(node, ast.ImportFrom) and node.module
    for alias in node.names
}


def _room(module: tuple[str, ...]) -> str:
    """The room of a module of this repository."""
    if module[0] != "bert_jax":
        return module[0]
    return _FACE.get(module[1], module[1:])[0]


def _imports() -> dict[tuple[str, str], str]:
    """(room, another that it imports) and a file that does."""
    found = {}
    for path in (path for top in _TOPS for path in sorted((_ROOT / top).rglob("*.py"))):
        own = _room(path.relative_to(_ROOT).with_suffix("").parts)
        for module in _modules(path):
            if module[0] in _TOPS and _room(module) != own:
                found[own, _room(module)] = str(path.relative_to(_ROOT))
    return found


@pytest.fixture(scope="module")
def imports():
    return _imports()


def test_imports_go_down(imports):
    wrong = {
        (room, other): path
        for (room, other), path in imports.items()
        if other not in _BELOW.get(room, _BASE)
    }
    assert {pair: path for pair, path in wrong.items() if pair not in _NOT_YET} == {}
    assert set(wrong) >= _NOT_YET, "mended: take it out of _NOT_YET"


def test_the_base_has_no_circle(imports):
    below: dict[str, set[str]] = {name: set() for name in _BASE}
    for room, other in imports:
        if room in _BASE:
            below[room].add(other)
    while below:
        free = {name for name, needs in below.items() if not needs & set(below)}
        assert free, f"circle in {below}"
        below = {name: needs for name, needs in below.items() if name not in free}


def test_every_room_is_known():
    rooms = {path.parent.name for path in (_ROOT / "bert_jax").glob("*/__init__.py")}
    files = {path.stem for path in (_ROOT / "bert_jax").glob("*.py")} - {"__init__"}
    assert rooms | files <= set(_BELOW) | _BASE


def test_flags_belong_to_commands():
    for path in (_ROOT / "bert_jax").rglob("*.py"):
        assert path.parent.name == "cli" or "flags.DEFINE" not in path.read_text(), path
