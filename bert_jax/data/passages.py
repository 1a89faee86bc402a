"""Held-out passages: how a corpus is split that has too few documents to hold whole ones out."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from bert_jax.data.tokenised import TokenisedDocument

# Pieces. About so long is a passage of a long document.
_PASSAGE = 1000
# Sentences. Shorter documents are rather kept whole.
_LONG = 10


def cut_passages(
    lengths: np.ndarray, heldout_fraction: float, least: int, key: bytes
) -> list[tuple[str, int, int]]:
    """Cut a document into runs of sentences: (split, first, end) each, the train side at both ends.

        sentences   0 1 2 3 4 5 6 7 8 9 …            lengths in pieces, int [s]
                    └─┬─┘ └┬┘ └──┬──┘ └┬┘ └…
                    train held  train held train     each run becomes a document of its own

    So no next-sentence pair reaches over a gap, and no sentence is on both sides. The passages are
    spread evenly, each at a random place of its part of the document that `key` decides, of two
    sentences or more where the document has enough.

    Args:
        lengths: pieces of every sentence, int [s].
        heldout_fraction: about this share of the sentences is held out.
        least: so many passages at least, where there are sentences enough: two a passage, and one.
        key: the same for the same text.
    """
    sentences = len(lengths)
    wanted = max(least, round(heldout_fraction * int(lengths.sum()) / _PASSAGE))
    count = min(wanted, (sentences - 1) // 2)
    runs: list[tuple[str, int, int]] = []
    begin = 0
    for number in range(count):
        # The part's last sentence stays on the train side, and so does the document's first.
        first, last = (1 + (sentences - 1) * n // count for n in (number, number + 1))
        room = last - 1 - first
        size = min(max(round(heldout_fraction * (last - first)), 2 if room > 3 else 1), room)
        digest = hashlib.blake2b(key + number.to_bytes(8, "little"), digest_size=8).digest()
        start = first + int.from_bytes(digest, "little") % (room - size + 1)
        runs += [("train", begin, start), ("heldout", start, start + size)]
        begin = start + size
    return [*runs, ("train", begin, sentences)]


def plan_passages(
    documents: Iterable[tuple[np.ndarray, bytes]], heldout_fraction: float
) -> list[list[tuple[str, int, int]]] | None:
    """Cut documents, given as (sentence lengths, key), so that both sides have two runs or more.

    A next-sentence pair takes its second part from another run. In this order:
    1. passages of all documents that are long enough for passages of two sentences;
    2. the two whole documents with the smallest keys, and their copies;
    3. passages of any length, and where they are too few, None.
    """
    documents = list(documents)
    least = 2 if len(documents) == 1 else 1
    smallest = sorted({key for _, key in documents})[:2]

    def passages(shortest: int) -> list[list[tuple[str, int, int]]]:
        return [
            cut_passages(lengths, heldout_fraction, least, key)
            if len(lengths) >= shortest
            else [("train", 0, len(lengths))]
            for lengths, key in documents
        ]

    def whole() -> list[list[tuple[str, int, int]]]:
        return [
            [("heldout" if key in smallest else "train", 0, len(lengths))]
            for lengths, key in documents
        ]

    for cuts in (passages(_LONG), whole(), passages(1)):
        sides = Counter(split for runs in cuts for split, _, _ in runs)
        if min(sides["train"], sides["heldout"]) >= 2:
            return cuts
    return None


def split_by_passages(
    documents: Iterable[tuple[str, np.ndarray, np.ndarray]],
    cuts: Iterable[Sequence[tuple[str, int, int]]],
    unk_id: int,
) -> Iterator[tuple[str, TokenisedDocument]]:
    """Yield (split, document) of all runs that `cuts` make of (name, pieces, sentence lengths)."""
    for (name, pieces, lengths), runs in zip(documents, cuts, strict=True):
        ends = np.concatenate([[0], np.cumsum(lengths)])
        for number, (split, first, end) in enumerate(runs, 1):
            part = pieces[ends[first] : ends[end]]
            yield (
                split,
                TokenisedDocument(
                    name=f"{name}#passage{number}" if len(runs) > 1 else name,
                    sentence_lengths=lengths[first:end],
                    line_hashes=np.zeros(1, np.uint64),
                    line_sentences=np.array([end - first], np.int32),
                    line_unknown=np.array([(part == unk_id).sum()], np.int32),
                    content_hash=0,
                    characters=0,
                    bad_bytes=0,
                    source_bytes=0,
                    has_json=False,
                    has_tags=False,
                    pieces=part,
                ),
            )


def key_of(pieces: np.ndarray) -> bytes:
    """Return a document's key: copies are cut alike, so that none trains on another's passages."""
    return hashlib.blake2b(np.ascontiguousarray(pieces, np.int32).tobytes(), digest_size=8).digest()
