"""The examples in docstrings run, and give what they say."""

import doctest
import importlib

import pytest

from tests.readme_blocks import ROOT

_MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "bert_jax").rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", _MODULES)
def test_the_examples_of_a_module_give_what_they_say(name):
    said = []
    runner = doctest.DocTestRunner(verbose=False)
    for docstring in doctest.DocTestFinder().find(importlib.import_module(name)):
        runner.run(docstring, out=said.append)
    assert not runner.failures, "".join(said)
    assert runner.tries or runner.skips
