"""A table of words and their nearest neighbours in a checkpoint's token table."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bert_jax.analysis.neighbours import nearest_rows
from bert_jax.checkpoints import load_embeddings
from bert_jax.data.corpus import Corpus

_SEEN_OFTEN = 100  # a row that was rarely trained still lies where chance put it


def print_neighbours(checkpoint: Path, corpus: Corpus, words: Sequence[str], k: int = 6) -> None:
    """Print the neighbours of `words`, or of some frequent words where none are given.

    Neighbours are whole words seen at least 100 times in training.
    """
    tokenizer = corpus.tokenizer
    counts = np.bincount(corpus.train.pieces, minlength=tokenizer.vocab_size)
    whole = np.array([len(p) > 2 and p.isalpha() for p in tokenizer.pieces])
    frequent = np.flatnonzero(whole & (counts >= _SEEN_OFTEN))
    if len(frequent) < 2:
        return
    known = {tokenizer.pieces[i]: i for i in np.flatnonzero(counts)}
    queries = [int(known[word]) for word in words if word in known] or _examples(frequent, counts)
    table = load_embeddings(checkpoint)["token"]["table"]
    found = nearest_rows(table, np.array(queries), k, frequent)
    shown = Table(title="Nearest neighbours in the token table", title_justify="left")
    for heading in ("word", "times seen", "neighbours (cosine)"):
        shown.add_column(heading)
    for query, ids, cosines in zip(
        queries, found.ids.tolist(), found.cosines.tolist(), strict=True
    ):
        near = ", ".join(
            f"{tokenizer.pieces[i]} {c:.2f}" for i, c in zip(ids, cosines, strict=True)
        )
        shown.add_row(tokenizer.pieces[query], f"{counts[query]:,}", near)
    Console().print(shown)
    missing = [word for word in words if word not in known]
    if missing:
        print(f"not single pieces of this vocabulary, or never seen: {', '.join(missing)}")


def _examples(frequent: np.ndarray, counts: np.ndarray) -> list[int]:
    """Six words from the 50th to the 500th by frequency: common, but no mere grammar."""
    ranked = frequent[np.argsort(-counts[frequent], kind="stable")]
    last = len(ranked) - 1
    return [int(ranked[min(rank, last)]) for rank in (50, 100, 170, 260, 370, 500)][: last + 1]
