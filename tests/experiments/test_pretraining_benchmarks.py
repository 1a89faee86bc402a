"""What the benchmarks of pretraining compute from their runs; the runs are the library's own."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from bert_jax import Tokenizer
from bert_jax.text.tokenizer import SPECIAL_PIECES
from tests.experiments.runs import REPOSITORY

# Both define flags of the same names, so each is imported in a process of its own.
PRINTED = """
from experiments.benchmarks.objectives import ARMS, difference, equal_steps
print(difference([5.0, 5.2, 5.4], [5.1, 5.2, 5.3]))
corpus = type("C", (), {"tokenizer": type("T", (), {"vocab_size": 8192})})
usual = {"model": "tiny", "phases": "128:1.0", "batch_size": 32}
for arm in ("as published", "mask 30 %", "mask 40 %", "whole words", "no NSP"):
    print(equal_steps(600, {**usual, **ARMS[arm]}, usual, corpus))
"""


def test_arms_take_the_same_operations_and_differ_by_seed():
    done = subprocess.run(
        [sys.executable, "-c", PRINTED], cwd=REPOSITORY, capture_output=True, text=True
    )
    difference, *steps = done.stdout.splitlines()
    # Differences -0.1, 0, 0.1: their mean is 0, their standard error 0.1 / sqrt(3), t is 4.3027.
    assert eval(difference) == pytest.approx((0.0, 4.3027 * 0.1 / 3**0.5), abs=1e-5), done.stderr
    # A row of tiny takes 128 x 917,504 operations forward and 2,129,920 a masked slot, of which
    # there are 20, 40 and 52; pooler and next sentence take 33,280 a row, of the first alone.
    row, slot, pairs = 128 * 917_504, 2_129_920, 33_280
    first = row + 20 * slot + pairs
    expected = [
        600,
        600 * first / (row + 40 * slot + pairs),
        600 * first / (row + 52 * slot + pairs),
        600,
        600 * first / (row + 20 * slot),
    ]
    assert [int(step) for step in steps] == [round(step) for step in expected]


def test_curves_are_compared_where_the_other_ends():
    from experiments.benchmarks.continued_pretraining import bits_per_character, first_as_good

    other = {0: 9.0, 10: 7.0, 20: 6.5}
    assert first_as_good({0: 8.0, 5: 6.6, 10: 6.5, 15: 6.6, 20: 6.0}, other) == 10
    assert first_as_good({0: 8.0, 20: 6.6}, other) is None
    tokenizer = Tokenizer([*SPECIAL_PIECES, "fox", "##es"])
    corpus = SimpleNamespace(
        tokenizer=tokenizer, heldout=SimpleNamespace(pieces=np.array([5, 6, 5], np.int32))
    )
    # " foxes fox" has ten characters and three pieces.
    assert bits_per_character(corpus) == pytest.approx(3 / 10 / np.log(2))
