"""Which documents a corpus keeps, and which split each belongs to."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from bert_jax.data.doctor import Doctor
from bert_jax.data.seen import SeenHashes
from bert_jax.data.tokenised import DocumentHead

Head = TypeVar("Head", bound=DocumentHead)  # with the pieces or without: what goes in comes out


@dataclass(frozen=True)
class Selection:
    """What decides which documents a corpus keeps, and where.

    Attributes:
        heldout_fraction: about this share of the documents is held out.
        drop_duplicates: whether documents whose text came before are left out.
        drop_duplicate_lines: whether lines that came before, in any document, are left out.
    """

    heldout_fraction: float = 0.05
    drop_duplicates: bool = False
    drop_duplicate_lines: bool = False


def select_documents(
    documents: Iterable[Head],
    selection: Selection,
    doctor: Doctor,
    progress: Callable[[int], None] = lambda source_bytes: None,
) -> Iterator[tuple[str, Head]]:
    """Yield (split, document) of those that are kept, in the order they are stored.

    The doctor sees them all, those that come in and those that are kept.
    """
    kept = keep_documents(
        documents,
        doctor,
        drop_duplicates=selection.drop_duplicates,
        drop_duplicate_lines=selection.drop_duplicate_lines,
        progress=progress,
    )
    for split, document in split_documents(kept, selection.heldout_fraction):
        doctor.see_kept(split, document.sentence_lengths, document.unknown)
        yield split, document


def keep_documents(
    documents: Iterable[Head],
    doctor: Doctor,
    *,
    drop_duplicates: bool,
    drop_duplicate_lines: bool,
    progress: Callable[[int], None],
) -> Iterator[Head]:
    """Show every document to the doctor and yield those with text, without repeats if so asked."""
    texts, lines = SeenHashes(), SeenHashes()
    for group in _grouped(documents):
        hashes = np.concatenate([document.line_hashes for document in group])
        doctor.see_lines(hashes)
        with_text = [document for document in group if document.num_pieces]
        content = np.array([document.content_hash for document in with_text], np.uint64)
        repeated = iter(texts.add(content))
        for document in group:
            progress(document.source_bytes)
            doctor.see_input(document)
            if not document.num_pieces:
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
                document = document.without_lines(old)
                if not document.num_pieces:
                    doctor.dropped_documents += 1
                    continue
            yield document


def _grouped(documents: Iterable[Head]) -> Iterator[list[Head]]:
    # Looking hashes up costs the same for one as for hundreds.
    group: list[Head] = []
    pieces = 0
    for document in documents:
        group.append(document)
        pieces += document.num_pieces
        if len(group) >= 256 or pieces >= 1 << 18:
            yield group
            group, pieces = [], 0
    if group:
        yield group


def split_documents(
    documents: Iterable[Head], heldout_fraction: float
) -> Iterator[tuple[str, Head]]:
    """Yield every document with its split: "heldout" for about `heldout_fraction` of them.

    The hash of the text decides, so copies stay together, and a text is on the same side in every
    corpus and with every vocabulary. Few documents may all fall on the train side; then the one
    whose hash comes next is held out after all, with its copies. For that it is held back until a
    document is held out by right.
    """
    limit = heldout_fraction * 2.0**64
    nearest: list[Head] = []  # copies of the train document with the smallest hash
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
