"""A table of words and their nearest neighbours in a checkpoint's token table."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.table import Table

from bert_jax.analysis.token_rows import COSINE, TokenRows, examples
from bert_jax.analysis.words import neighbours
from bert_jax.console import plain_console
from bert_jax.data.corpus import Corpus
from bert_jax.tables.storage import load_tables

_SEEN_OFTEN = 100  # a row that was rarely trained still lies where chance put it


def print_neighbours(checkpoint: Path, corpus: Corpus, words: Sequence[str], k: int = 6) -> None:
    """Print the neighbours of `words`, or of some frequent words where none are given.

    Neighbours are whole words seen at least 100 times in training.
    """
    tables = load_tables(checkpoint).replace(tokenizer=corpus.tokenizer)
    counts = np.bincount(corpus.train.pieces, minlength=len(tables.token))
    rows = TokenRows(tables)
    frequent = rows.words(counts, _SEEN_OFTEN)
    if len(frequent) < 2:
        return
    seen = {rows.pieces[i]: int(counts[i]) for i in np.flatnonzero(counts)}
    queries = [word for word in words if word in seen]
    queries = queries or [rows.pieces[i] for i in examples(frequent)]
    shown = Table(
        title="Nearest neighbours in the token table", title_justify="left", caption=COSINE
    )
    for heading in ("word", "times seen", "neighbours (cosine)"):
        shown.add_column(heading)
    for word, near in neighbours(tables, queries, k, frequent).items():
        listed = ", ".join(f"{one.piece} {one.cosine:.2f}" for one in near)
        shown.add_row(word, f"{seen[word]:,}", listed)
    plain_console().print(shown)
    missing = [word for word in words if word not in seen]
    if missing:
        print(f"not single pieces of this vocabulary, or never seen: {', '.join(missing)}")
