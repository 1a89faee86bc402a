"""The default corpus: documentation that is installed with the libraries we stand on.

Nothing is downloaded and nothing is copied into the repository; the text is read from the
installed packages, without importing them.
"""

import ast
import gc
import importlib.util
import inspect
import pydoc_data.topics
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from bert_jax.data.document import Document

PACKAGES = ("jax", "numpy", "scipy", "flax", "optax")

# Underlines of headings and frames of tables say nothing to a language model.
_RULER = re.compile(r"^[ \t]*[-=~^*+`#\"'.|: ]{4,}$", re.MULTILINE)


def read_python_docs() -> Iterator[Document]:
    """Yield a document for each module of `PACKAGES` with docstrings, then each Python topic.

    Order and content depend on nothing but the installed versions: modules come sorted by path, a
    module's docstrings in the order of its source, parted by blank lines.
    """
    for package in PACKAGES:
        root = _root(package)
        for path in _modules(root):
            source = path.read_bytes()
            text = "\n\n".join(docstrings(source))
            module = ".".join((package, *path.relative_to(root).with_suffix("").parts))
            yield Document(module, text, source_bytes=len(source))
    for topic, text in sorted(pydoc_data.topics.topics.items()):
        yield Document(f"pydoc_data.topics.{topic}", _tidy(text), source_bytes=len(text))


def python_docs_size() -> int:
    """Bytes of source the docstrings are read from, for progress bars."""
    sources = sum(path.stat().st_size for name in PACKAGES for path in _modules(_root(name)))
    return sources + sum(map(len, pydoc_data.topics.topics.values()))


def python_docs_identity() -> str:
    """What determines the text: the versions of the packages and of Python."""
    packages = " ".join(f"{name}=={version(name)}" for name in PACKAGES)
    return f"python_docs python=={sys.version.split()[0]} {packages}"


def docstrings(source: bytes) -> list[str]:
    """Return the docstrings of a module and of its classes and functions, in source order.

    def add(x, y):                     ->  ["Sum of x and y.\\n\\nParameters\\n\\nx : float"]
        '''Sum of x and y.

        Parameters
        ----------
        x : float
        '''
    """
    if b'"""' not in source and b"'''" not in source and b"add_newdoc" not in source:
        return []  # spares a quarter of the files; a docstring in single quotes says little
    with warnings.catch_warnings(), _no_garbage_collection():
        warnings.simplefilter("ignore")  # invalid escapes in other people's strings
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError):  # a template, or syntax of a newer Python
            return []
    found: list[str] = []
    _collect(tree, found)
    return [_tidy(inspect.cleandoc(text)) for text in found if text.strip()]


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    # A tree is a hundred thousand objects that all live: looking for dead ones takes a quarter of
    # the parser's time.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _collect(node: ast.AST, found: list[str]) -> None:
    # Statements only: expressions are most of a tree and hold no docstring.
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        found.append(ast.get_docstring(node, clean=False) or "")
    elif isinstance(node, ast.Expr) and _is_add_newdoc(node.value):
        found += _strings(node)
    for part in ("body", "orelse", "handlers", "finalbody"):
        for child in getattr(node, part, ()):
            _collect(child, found)


def _is_add_newdoc(node: ast.AST) -> bool:
    # How numpy documents what is written in C: add_newdoc(module, name, docstring).
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "add_newdoc"
    )


def _strings(node: ast.AST) -> list[str]:
    constants = (n.value for n in ast.walk(node) if isinstance(n, ast.Constant))
    return [value for value in constants if isinstance(value, str) and len(value) > 40]


def _tidy(text: str) -> str:
    return _RULER.sub("", text)


def _modules(root: Path) -> list[Path]:
    # Tests document nothing, and some installations leave them out.
    return sorted(p for p in root.rglob("*.py") if "tests" not in p.relative_to(root).parts)


def _root(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations, f"{package} is a dependency"
    return Path(next(iter(spec.submodule_search_locations)))
