r"""Check on a real table of words that the compiled learner makes the merges of the reference.

    python -m experiments.learn_vocab --input=... --save_word_counts=words.tsv --output=vocab.txt
    python -m experiments.benchmarks.learner_exactness --word_counts=words.tsv --vocab_size=30522

The reference is plain Python and takes minutes, so this stands outside the test suite. Exit status
1 where a single merge, gain or count differs. Corpus of ../shared/data and Python sources, 263,639
cased types: 29,840 merges, all equal; reference 548 s, compiled 3 s (2 busy cores).
"""

import sys
import time

import numpy as np
from absl import flags

from bert_jax.cli import command
from bert_jax.text.word_counts import WordCounts
from bert_jax.text.wordpiece_compiled import learn_merges
from bert_jax.text.wordpiece_inventory import cut_into_characters
from bert_jax.text.wordpiece_reference import learn_merges_reference

_WORD_COUNTS = flags.DEFINE_string(
    "word_counts",
    None,
    "A file of word counts, as learn_vocab --save_word_counts writes it.",
    required=True,
)
_VOCAB_SIZE = flags.DEFINE_integer(
    "vocab_size", 30522, "Tokens to learn, single characters included."
)
_COVERAGE = flags.DEFINE_float(
    "coverage", 0.99999, "Share of all characters in the text that the alphabet must cover."
)


def main() -> None:
    """Learn twice and compare everything."""
    counts = WordCounts.load(_WORD_COUNTS.value)
    words = cut_into_characters(counts, _COVERAGE.value or 1.0)
    size = _VOCAB_SIZE.value or 30522
    learn_merges(words, len(words.characters) + 1)  # compiles
    began = time.perf_counter()
    compiled = learn_merges(words, size)
    middle = time.perf_counter()
    reference = learn_merges_reference(words, size)
    end = time.perf_counter()
    equal = {
        name: bool(np.array_equal(getattr(compiled, name), getattr(reference, name)))
        for name in ("pieces", "left", "right", "piece", "gain", "occurrences", "sizes", "counts")
    }
    rows = {
        "types": len(counts.words),
        "merges": len(reference.left),
        "merges into pieces that exist": int(np.sum(np.diff(reference.sizes, prepend=0) == 0)),
        "gains equal to the last bit": equal["gain"],
        "all equal": all(equal.values()),
        "seconds compiled": middle - began,
        "seconds reference": end - middle,
    }
    command.print_table("compiled learner against the reference", rows)
    if not all(equal.values()):
        sys.exit(1)


if __name__ == "__main__":
    command.run(main)
