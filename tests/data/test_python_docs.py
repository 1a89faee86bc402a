import gc
import itertools

from bert_jax.data.python_docs import docstrings, python_docs_identity, read_python_docs
from bert_jax.data.sources import open_source

SOURCE = b'''"""Module.

    Indented.
"""
import x

def add(x, y):
    """Sum of x and y.

    Parameters
    ----------
    x : float
    """
    def inner():
        "Inner."

class A:
    """A."""

    async def b(self):
        """B."""

    if True:
        def c(self):
            """   """

add_newdoc("numpy", "thing", """
    What the thing is, in more than forty characters.
    """)
x = "\\d"
'''


def test_docstrings_in_source_order():
    assert docstrings(SOURCE) == [
        "Module.\n\nIndented.",
        "Sum of x and y.\n\nParameters\n\nx : float",
        "Inner.",
        "A.",
        "B.",
        "What the thing is, in more than forty characters.",
    ]


def test_what_does_not_parse_is_left_out():
    assert docstrings(b"''' '''\ndef {{ template }}") == []
    assert docstrings(b"def f(): 'Short.'") == []
    assert gc.isenabled()
    assert docstrings(b"x = '''\0'''") == []


def test_installed_documentation():
    first = list(itertools.islice(read_python_docs(), 60))
    assert first == list(itertools.islice(open_source("python_docs"), 60))
    assert all(document.name.startswith("jax.") for document in first)
    assert "tests" not in {part for document in first for part in document.name.split(".")}
    assert sum(len(document.text) for document in first) > 50_000
    assert "jax==" in python_docs_identity() and "optax==" in python_docs_identity()
