"""Documents to pieces: the part of building a corpus that runs on every core."""

import hashlib
import os
import re
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import chain, islice
from multiprocessing import get_context
from types import FrameType

import numpy as np

from bert_jax.data.document import Document
from bert_jax.data.sentences import LONGEST_SENTENCE, paragraphs, split_paragraph
from bert_jax.data.tokenised import TokenisedDocument
from bert_jax.data.worker_process import live_with_parent, undisturbed_start
from bert_jax.errors import UserError
from bert_jax.memory import check_workers
from bert_jax.text.tokenizer import Tokenizer

# What is looked at of a document to see whether it is prose.
_BEGINNING = 10_000
_JSON = re.compile(r'\s*\[?\s*\{\s*"[^"\n]{1,100}"\s*:')
_CLOSING_TAG = re.compile(
    r"</(?:a|b|br|code|div|doc|em|h\d|head|html|i|li|p|page|ref|revision|script|span|strong|table|"
    r"td|text|title|tr|ul)>"
)

_BATCH_CHARACTERS = 1 << 20
_BATCH_DOCUMENTS = 1024
_LATER_SECONDS = 2.0


def tokenise(document: Document, tokenizer: Tokenizer) -> TokenisedDocument:
    """Find the lines and sentences of a document and cut them into pieces.

    A line of text that is already split (`bert_jax.text.splitting`) is a sentence.
    """
    if not tokenizer.splitting.has_words:
        text = document.text
        lines: Iterable[str] = text.split("\n") if isinstance(text, str) else text
        split: Callable[[str], list[str]] = lambda line: [line]  # noqa: E731
    elif isinstance(document.text, str):
        lines = paragraphs(document.text)
        lowered = document.text.islower()
        split = partial(split_paragraph, lowered=lowered)
    else:
        lines = document.text
        split = _whole
    to_pieces = tokenizer.memo.pieces
    pieces: list[bytes] = []
    hashes: list[bytes] = []
    line_sentences: list[int] = []
    for line in lines:
        before = len(pieces)
        pieces += filter(None, map(to_pieces, split(line)))
        hashes.append(hashlib.blake2b(line.strip().encode(), digest_size=8).digest())
        line_sentences.append(len(pieces) - before)
    ids = np.frombuffer(b"".join(pieces), np.int32)
    first = document.text if isinstance(document.text, str) else "\n".join(document.text[:50])
    beginning = first[:_BEGINNING]
    digest = hashlib.blake2b(b"".join(hashes), digest_size=8).digest()
    lengths = np.array([len(sentence) // ids.itemsize for sentence in pieces], np.int32)
    line_lengths = np.array(line_sentences, np.int32)
    return TokenisedDocument(
        name=document.name,
        sentence_lengths=lengths,
        line_hashes=np.frombuffer(b"".join(hashes), np.uint64),
        line_sentences=line_lengths,
        line_unknown=_count_by_line(ids == tokenizer.unk_id, lengths, line_lengths),
        content_hash=int.from_bytes(digest, "little"),
        characters=len(document.text)
        if isinstance(document.text, str)
        else sum(map(len, document.text)),
        bad_bytes=document.bad_bytes,
        source_bytes=document.source_bytes,
        has_json=_JSON.match(beginning) is not None,
        has_tags=len(_CLOSING_TAG.findall(beginning)) > 2,
        pieces=ids,
    )


def _count_by_line(
    marked: np.ndarray, sentence_lengths: np.ndarray, line_sentences: np.ndarray
) -> np.ndarray:
    """Count the marked pieces, bool [n], of every line: int32 [l]."""
    if not marked.any():
        return np.zeros(len(line_sentences), np.int32)
    sentence_ends = np.concatenate([[0], np.cumsum(sentence_lengths)])
    line_ends = sentence_ends[np.cumsum(line_sentences)]
    before = np.concatenate([[0], np.cumsum(marked)])
    return np.diff(before[line_ends], prepend=0).astype(np.int32)


def _whole(line: str) -> list[str]:
    # A sentence of the source stays one, unless it is of a length that no model reads.
    return [line[i : i + LONGEST_SENTENCE] for i in range(0, len(line), LONGEST_SENTENCE)]


def tokenise_all(
    documents: Iterable[Document], tokenizer: Tokenizer, workers: int = 1
) -> Iterator[TokenisedDocument]:
    """Tokenise documents on `workers` processes; the result does not depend on their number.

    Documents come back in order. At most two batches of about 1 MB a worker are under way, so
    memory does not grow with the input.

    Raises:
        UserError: a worker process died.
    """
    batches = _batches(documents)
    first = list(islice(batches, 2))
    check_workers(workers)
    if workers <= 1 or len(first) < 2:  # starting a process takes longer than a batch
        for batch in chain(first, batches):
            for document in batch:
                yield tokenise(document, tokenizer)
        return
    # Spawned, not forked: forking a process whose threads hold locks (JAX has many) can hang.
    with undisturbed_start():
        pool = ProcessPoolExecutor(
            workers,
            mp_context=get_context("spawn"),
            initializer=_start_worker,
            initargs=(tokenizer,),
        )
    under_way: deque[Future[list[TokenisedDocument]]] = deque()
    with pool:
        try:
            for batch in chain(first, batches):
                with undisturbed_start():  # a pool starts its workers one by one, as work comes
                    under_way.append(pool.submit(_work, batch))
                if len(under_way) > 2 * workers:
                    yield from under_way.popleft().result()
            while under_way:
                yield from under_way.popleft().result()
        except BrokenProcessPool as error:
            raise UserError(
                f"got a worker process that died, one of {workers}, perhaps out of memory; "
                "expected them to keep running: try fewer workers"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    characters = 0
    for document in documents:
        batch.append(document)
        text = document.text
        characters += len(text) if isinstance(text, str) else sum(map(len, text))
        if characters >= _BATCH_CHARACTERS or len(batch) >= _BATCH_DOCUMENTS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


_worker_tokenizer: Tokenizer  # one a process, so that its memo outlives a batch


def _start_worker(tokenizer: Tokenizer) -> None:
    global _worker_tokenizer
    live_with_parent()
    signal.signal(signal.SIGTERM, _end_soon)  # by which a pool that is broken ends its workers
    _worker_tokenizer = tokenizer


def _end_soon(signum: int, frame: FrameType | None) -> None:
    """After its parent, which a scheduler may have told to end at the same time."""
    del signum, frame
    end = threading.Timer(_LATER_SECONDS, os._exit, (1,))
    end.daemon = True
    end.start()


def _work(batch: Sequence[Document]) -> list[TokenisedDocument]:
    documents = [tokenise(document, _worker_tokenizer) for document in batch]
    for document in documents:
        _ = document.record  # encoded here, on every core, and sent along
    return documents
