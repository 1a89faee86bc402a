r"""Quality of vocabularies on held-out documents, beside the trainer of the `tokenizers` library.

    python -m experiments.benchmarks.vocabulary_quality --input=../shared/data/corpus

Documents are held out by a hash of their text. Every vocabulary is learned from the same other
documents, and every word is then encoded greedily, as BERT does. Per vocabulary:

    bits per character   of the held-out words (white space aside) under a unigram model of pieces,
                         add-one smoothed, estimated on the training words; a word that becomes
                         [UNK] costs 20 bits a character more
    fertility            pieces a held-out word
    whole words          share of running held-out words that are one piece
    unused               share of rows that encoding the training text never uses (not [PAD] …)

`ratio` takes the pair with the largest n / (c_a c_b), which is often taken for WordPiece's score:
it is the likelihood gain of one occurrence, not of all of them, so it picks the rarest junk.
"""

import hashlib
import math
from collections.abc import Callable, Iterable
from pathlib import Path

import tokenizers
from absl import flags
from rich.table import Table
from tokenizers import models, normalizers, pre_tokenizers, trainers

from bert_jax.cli import command
from bert_jax.cli.outputs import check_new, define_overwrite
from bert_jax.console import plain_console
from bert_jax.data.document import Document
from bert_jax.data.sources import Source, open_source
from bert_jax.text.compiled import entry, int64
from bert_jax.text.word_counts import WordCounts, count_words
from bert_jax.text.wordpiece_inventory import cut_into_characters
from bert_jax.text.wordpiece_learner import SPECIAL_PIECES, learn_vocabulary
from bert_jax.text.wordpiece_merge import empty_scratch, merge, start_text
from bert_jax.text.wordpiece_pruning import greedy_pieces
from bert_jax.text.wordpiece_text import grown_pairs, lay_out
from bert_jax.whole_file import write_json

_INPUT = flags.DEFINE_multi_string("input", ["python_docs"], "Text to learn from; may be repeated.")
_SIZES = flags.DEFINE_multi_integer(
    "vocab_size", [8192, 30522], "Size of the vocabulary, in tokens; may be repeated."
)
_HELDOUT = flags.DEFINE_float("heldout_fraction", 0.05, "Share of the documents held out.")
_OUTPUT = flags.DEFINE_string("output", None, "A JSON file for the results.")
define_overwrite()

_UNKNOWN_BITS = 20.0  # a character of an [UNK] word: one of a million code points


def main() -> None:
    """Learn every vocabulary at every size and print one table."""
    if _OUTPUT.value is not None:
        check_new("output", _OUTPUT.value)
    source = open_source(_INPUT.value)
    train, heldout = count_words(_texts(source, False)), count_words(_texts(source, True))
    learners: dict[str, Callable[[int], Iterable[str]]] = {
        "tokenizers": lambda size: _peer(source, size),
        "frequency": lambda size: learn_vocabulary(train, size, criterion="frequency").pieces,
        "likelihood": lambda size: learn_vocabulary(train, size).pieces,
        "likelihood --drop_unused": lambda size: (
            learn_vocabulary(train, size, drop_unused=True).pieces
        ),
        "ratio (a warning)": lambda size: _by_ratio(train, size),
    }
    columns = ("bits/character", "fertility", "whole words", "unused", "[UNK]", "last rows")
    table = Table(title=f"{int(heldout.counts.sum()):,} held-out words", title_justify="left")
    for column in ("rows", "learner", *columns):
        table.add_column(column)
    figures = []
    for size in _SIZES.value or []:
        for name, learn in learners.items():
            pieces = list(learn(size))
            measured = _measure(pieces, train, heldout)
            last = " ".join(piece for piece in pieces if piece.strip("#").isalpha())[-40:]
            last = last.partition(" ")[2]
            figures.append({"rows": len(pieces), "learner": name, **measured, "last": last})
            cells = [f"{measured[c]:.4f}" for c in columns[:2]]
            cells += [f"{measured[c]:.2%}" for c in columns[2:4]] + [f"{measured['[UNK]']:.3%}"]
            table.add_row(str(len(pieces)), name, *cells, last)
    if _OUTPUT.value is not None:
        write_json(Path(_OUTPUT.value), {"figures": figures})
    plain_console(width=150).print(table)


def _held_out(document: Document) -> bool:
    text = document.text if isinstance(document.text, str) else "\n".join(document.text)
    digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big") < (_HELDOUT.value or 0.05) * 2**64


def _texts(source: Source, heldout: bool) -> Iterable[str]:
    for document in source:
        if _held_out(document) == heldout:
            yield from [document.text] if isinstance(document.text, str) else document.text


def _peer(source: Source, size: int) -> list[str]:
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=list(SPECIAL_PIECES), show_progress=False
    )
    tokenizer.train_from_iterator(_texts(source, False), trainer)
    rows = tokenizer.get_vocab()
    return sorted(rows, key=rows.__getitem__)


def _measure(pieces: list[str], train: WordCounts, heldout: WordCounts) -> dict[str, float]:
    vocabulary = set(pieces) - set(SPECIAL_PIECES)
    used = dict.fromkeys([*vocabulary, "[UNK]"], 0)
    for word, count in zip(train.words, train.counts.tolist(), strict=True):
        for piece in greedy_pieces(word, vocabulary) or ["[UNK]"]:
            used[piece] += count
    total = sum(used.values()) + len(used)
    bits, number, words, whole, unknown, characters = 0.0, 0, 0, 0, 0, 0
    for word, count in zip(heldout.words, heldout.counts.tolist(), strict=True):
        cut = greedy_pieces(word, vocabulary)
        cost = -sum(math.log2((used[piece] + 1) / total) for piece in cut or ["[UNK]"])
        if not cut:
            cost += _UNKNOWN_BITS * len(word)
            unknown += count
        bits += count * cost
        number += count * (len(cut) or 1)
        words += count
        whole += count * (len(cut) == 1)
        characters += count * len(word)
    return {
        "bits/character": bits / characters,
        "fertility": number / words,
        "whole words": whole / words,
        "unused": sum(used[piece] == 0 for piece in vocabulary) / len(pieces),
        "[UNK]": unknown / words,
    }


def _by_ratio(counts: WordCounts, size: int) -> list[str]:
    """Learn by n / (c_a c_b), looking at every pair at every step."""
    words = cut_into_characters(counts, 0.99999)
    wanted = size - len(SPECIAL_PIECES)
    text, pieces, pairs = lay_out(words, wanted)
    scratch = empty_scratch(text, pieces)
    _start_ratio(text, pieces, pairs)
    made = [(-1, -1)] * len(words.characters)
    while len(made) < wanted:
        if pairs.number[0] + 2 * pieces.number[0] + 4 > len(pairs.n):
            pairs = grown_pairs(pairs)
        left, right = _merge_ratio(text, pieces, pairs, scratch)
        if left < 0:
            break
        if pieces.number[0] > len(made):
            made.append((left, right))
    spelled = list(words.characters)
    for left, right in made[len(spelled) :]:
        spelled.append(spelled[left] + spelled[right].removeprefix("##"))
    return [*SPECIAL_PIECES, *spelled]


@entry
def _start_ratio(text, pieces, pairs):
    start_text(text, pieces, pairs)


@entry
def _merge_ratio(text, pieces, pairs, scratch):
    best, best_score = int64(-1), 0.0
    for pair in range(pairs.number[0]):
        if pairs.n[pair] > 0:
            left, right = pairs.left[pair], pairs.right[pair]
            score = pairs.n[pair] / (float(pieces.counts[left]) * float(pieces.counts[right]))
            if score > best_score:
                best, best_score = int64(pair), score
    if best < 0:
        return int64(-1), int64(-1)
    left, right = int64(pairs.left[best]), int64(pairs.right[best])
    merge(text, pieces, pairs, best, scratch)
    return left, right


if __name__ == "__main__":
    command.run(main)
