"""Which documents a corpus keeps, and which split each belongs to."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from bert_jax.data.doctor import Doctor
from bert_jax.data.example import encode_example
from bert_jax.data.seen import SeenHashes
from bert_jax.data.tokenising import TokenisedDocument


def keep_documents(
    documents: Iterable[TokenisedDocument],
    doctor: Doctor,
    *,
    drop_duplicates: bool,
    drop_duplicate_lines: bool,
    unk_id: int,
    progress: Callable[[int], None],
) -> Iterator[TokenisedDocument]:
    """Show every document to the doctor and yield those with text, without repeats if so asked."""
    texts, lines = SeenHashes(), SeenHashes()
    for group in _grouped(documents):
        hashes = np.concatenate([document.line_hashes for document in group])
        doctor.see_lines(hashes)
        with_text = [document for document in group if len(document.pieces)]
        content = np.array([document.content_hash for document in with_text], np.uint64)
        repeated = iter(texts.add(content))
        for document in group:
            progress(document.source_bytes)
            doctor.see_input(document)
            if not len(document.pieces):
                doctor.empty_documents += 1
                continue
            if next(repeated):
                doctor.duplicates += 1
                if drop_duplicates:
                    doctor.dropped_documents += 1
                    continue
            if drop_duplicate_lines:
                old = lines.add(document.line_hashes)
                doctor.dropped_lines += int(old.sum())
                document = without_lines(document, old, unk_id)
                if not len(document.pieces):
                    doctor.dropped_documents += 1
                    continue
            yield document


def _grouped(documents: Iterable[TokenisedDocument]) -> Iterator[list[TokenisedDocument]]:
    # Looking hashes up costs the same for one as for hundreds.
    group: list[TokenisedDocument] = []
    pieces = 0
    for document in documents:
        group.append(document)
        pieces += len(document.pieces)
        if len(group) >= 256 or pieces >= 1 << 18:
            yield group
            group, pieces = [], 0
    if group:
        yield group


def without_lines(document: TokenisedDocument, drop: np.ndarray, unk_id: int) -> TokenisedDocument:
    """Return the document without the lines that `drop`, bool [l], marks.

    lines      |A TITLE|  |One day. He left.|        drop = [True, False]
    sentences     -       |One day.| |He left.|
    """
    keep_sentence = np.repeat(~drop, document.line_sentences)
    keep_piece = np.repeat(keep_sentence, document.sentence_lengths)
    pieces = document.pieces[keep_piece]
    lengths = document.sentence_lengths[keep_sentence]
    return replace(
        document,
        pieces=pieces,
        sentence_lengths=lengths,
        line_hashes=document.line_hashes[~drop],
        line_sentences=document.line_sentences[~drop],
        unknown=int(np.count_nonzero(pieces == unk_id)),
        record=encode_example(document.name, pieces, lengths),
    )


def split_documents(
    documents: Iterable[TokenisedDocument], heldout_fraction: float
) -> Iterator[tuple[str, TokenisedDocument]]:
    """Yield every document with its split: "heldout" for about `heldout_fraction` of them.

    The hash of the text decides, so copies stay together, and a text is on the same side in every
    corpus and with every vocabulary. Few documents may all fall on the train side; then the one
    whose hash comes next is held out after all, with its copies. For that it is held back until a
    document is held out by right.
    """
    limit = heldout_fraction * 2.0**64
    nearest: list[TokenisedDocument] = []  # copies of the train document with the smallest hash
    waiting = heldout_fraction > 0
    for document in documents:
        if document.content_hash < limit:
            yield from (("train", held) for held in nearest)
            nearest, waiting = [], False
            yield "heldout", document
        elif not waiting:
            yield "train", document
        elif not nearest or document.content_hash < nearest[0].content_hash:
            yield from (("train", held) for held in nearest)
            nearest = [document]
        elif document.content_hash == nearest[0].content_hash:
            nearest.append(document)
        else:
            yield "train", document
    yield from (("heldout", held) for held in nearest)
