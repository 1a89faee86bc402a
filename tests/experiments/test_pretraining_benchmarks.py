"""What the benchmarks of pretraining compute from their runs; the runs are the library's own."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.experiments.runs import REPOSITORY

OBJECTIVES = """
import json
from experiments.benchmarks.objectives import ARMS, difference, equal_steps
corpus = type("C", (), {"tokenizer": type("T", (), {"vocab_size": 8192})})
usual = {"model": "tiny", "phases": "128:1.0", "batch_size": 32}
arms = ("as published", "mask 30 %", "mask 40 %", "whole words", "no NSP")
steps = [equal_steps(600, {**usual, **ARMS[arm]}, usual, corpus) for arm in arms]
print(json.dumps([difference([5.0, 5.2, 5.4], [5.1, 5.2, 5.3]), steps]))
"""

CONTINUED = """
import json
from types import SimpleNamespace
import numpy as np
from bert_jax import Tokenizer
from experiments.benchmarks.continued_pretraining import bits_per_character, first_as_good
other = {0: 9.0, 10: 7.0, 20: 6.5}
first = first_as_good({0: 8.0, 5: 6.6, 10: 6.5, 15: 6.6, 20: 6.0}, other)
never = first_as_good({0: 8.0, 20: 6.6}, other)
tokenizer = Tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "fox", "##es"])
heldout = SimpleNamespace(pieces=np.array([5, 6, 5], np.int32))
bits = bits_per_character(SimpleNamespace(tokenizer=tokenizer, heldout=heldout))
print(json.dumps([first, never, bits]))
"""


def printed(code):
    """What a process of its own prints: every command defines its flags where it is imported."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_arms_take_the_same_operations_and_differ_by_seed():
    difference, steps = printed(OBJECTIVES)
    # Differences -0.1, 0, 0.1: their mean is 0, their standard error 0.1 / sqrt(3), t is 4.3027.
    assert difference == pytest.approx([0.0, 4.3027 * 0.1 / 3**0.5], abs=1e-5)
    # A row of tiny takes 128 x 917,504 operations forward and 2,129,920 a masked slot, of which
    # there are 20, 40 and 52; pooler and next sentence take 33,280 a row, of the first alone.
    row, slot, pairs = 128 * 917_504, 2_129_920, 33_280
    first = row + 20 * slot + pairs
    assert steps == [
        600,
        round(600 * first / (row + 40 * slot + pairs)),
        round(600 * first / (row + 52 * slot + pairs)),
        600,
        round(600 * first / (row + 20 * slot)),
    ]


def test_curves_are_compared_where_the_other_ends():
    first, never, bits = printed(CONTINUED)
    assert (first, never) == (10, None)
    # " foxes fox" has ten characters and three pieces.
    assert bits == pytest.approx(3 / 10 / np.log(2))
