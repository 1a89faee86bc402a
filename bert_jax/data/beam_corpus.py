"""A corpus built by the workers of an Apache Beam runner: the same bytes as on one machine.

    share of the source ──a worker──▶ pieces as arrays, heads of its documents      shares/000007
    all heads, in order ──here──────▶ which documents stay, in which shard of which split    plan/
    plan of a shard ────a worker──▶ its records, its part of the arrays         written/train-00002
    written, in order ───here───────▶ the corpus

What depends on all documents before (repeats, the held-out split, the doctor's counts) is decided
here, by the code that decides it on one machine, from heads alone: a tenth of the bytes. No process
holds more than a document's pieces. A worker may do its work twice, or die over it: what it made
appears whole or not at all, and is the same the second time.
"""

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from bert_jax.data.beam_run import BeamRun
from bert_jax.data.doctor import Doctor
from bert_jax.data.document import Document
from bert_jax.data.documents import ArraysWriter, Documents
from bert_jax.data.example import encode_example
from bert_jax.data.records import Shard, ShardNumbers, ShardWriter, shard_path
from bert_jax.data.selection import Selection, select_documents
from bert_jax.data.sources import Source
from bert_jax.data.tokenised import DocumentHead
from bert_jax.data.tokenising import tokenise
from bert_jax.text.tokenizer import Tokenizer
from bert_jax.whole_file import whole_folder


def write_with_beam(
    beam: BeamRun,
    source: Source,
    tokenizer: Tokenizer,
    selection: Selection,
    doctor: Doctor,
    progress: Callable[[int], None],
    folder: Path,
    splits: Sequence[str],
) -> dict[str, list[Shard]]:
    """Tokenise a source and write its records and arrays; return what the shards hold.

    Args:
        beam: the runner. Its workers see the source's files and `folder` under the same paths.
        source: what to tokenise.
        tokenizer: makes the pieces.
        selection: which documents are kept.
        doctor: sees all documents.
        progress: is called now and then with the bytes that were tokenised since.
        folder: holds arrays/SPLIT for every split, both empty.
        splits: their names.

    Raises:
        UserError: input that cannot be read, or a runner that does not work.
    """
    folder = folder.absolute()
    work = folder / "work"
    for name in ("shares", "plan", "written"):
        (work / name).mkdir(parents=True)
    tokenise_one = partial(_tokenise_share, tokenizer=tokenizer, work=work)
    with _watch(work / "shares", len(source.shares), source.total_bytes or 0, progress):
        beam.for_each(tokenise_one, list(enumerate(source.shares)), work)
    _plan(len(source.shares), selection, doctor, work, splits)
    planned = {split: sorted((work / "plan").glob(f"{split}-*")) for split in splits}
    write_one = partial(_write_shard, vocab_size=tokenizer.vocab_size, work=work)
    beam.for_each(write_one, [plan.name for split in splits for plan in planned[split]], work)
    shards: dict[str, list[Shard]] = {split: [] for split in splits}
    for split in splits:
        with ArraysWriter(folder / "arrays" / split, tokenizer.vocab_size) as arrays:
            for number, plan in enumerate(planned[split]):
                written = work / "written" / plan.name
                os.rename(written / "records", shard_path(folder, split, number))
                arrays.extend(Documents.load(written))
                shards[split].append(Shard(**json.loads((written / "shard.json").read_text())))
    shutil.rmtree(work)
    return shards


@dataclass(frozen=True)
class _PlacedHead(DocumentHead):
    """A document's head, and where its pieces lie.

    Attributes:
        share: number of the share.
        index: number of the document in it.
        kept: bool [s], the sentences that are left where lines are dropped.
    """

    share: int
    index: int
    kept: np.ndarray | None = None

    def without_lines(self, drop: np.ndarray) -> Self:
        return replace(super().without_lines(drop), kept=self.sentences_without(drop))


def _share(work: Path, number: int) -> Path:
    return work / "shares" / f"{number:06d}"


def _tokenise_share(
    task: tuple[int, Callable[[], Iterator[Document]]], tokenizer: Tokenizer, work: Path
) -> None:
    number, read = task
    with (
        whole_folder(_share(work, number), keep_other=True) as share,
        ArraysWriter(share, tokenizer.vocab_size) as arrays,
        (share / "heads").open("wb") as heads,
    ):
        for index, document in enumerate(read()):
            tokenised = tokenise(document, tokenizer)
            arrays.write(tokenised.pieces, tokenised.sentence_lengths)
            head = {field.name: getattr(tokenised, field.name) for field in fields(DocumentHead)}
            _write_line({**head, "share": number, "index": index}, heads)


def _plan(
    shares: int, selection: Selection, doctor: Doctor, work: Path, splits: Sequence[str]
) -> None:
    """Write, for every shard, which documents it holds: (share, index, name, kept) each."""
    # By number, not by a glob: workers that died may have left unfinished folders beside them.
    files = (_share(work, number) / "heads" for number in range(shares))
    heads = (_head(line) for file in files for line in _lines(file))
    numbers = {split: ShardNumbers() for split in splits}
    plans: dict[str, BinaryIO] = {}
    with ExitStack() as stack:
        for split, head in select_documents(heads, selection, doctor):
            path = work / "plan" / f"{split}-{numbers[split].next(head.num_pieces):06d}"
            if split not in plans or plans[split].name != str(path):
                if split in plans:
                    plans[split].close()
                plans[split] = stack.enter_context(path.open("wb"))
            _write_line([head.share, head.index, head.name, head.kept], plans[split])


def _write_shard(name: str, vocab_size: int, work: Path) -> None:
    with whole_folder(work / "written" / name, keep_other=True) as written:
        records = ShardWriter(written / "records")
        load = lru_cache(8)(lambda share: Documents.load(_share(work, share)))
        with ArraysWriter(written, vocab_size) as arrays:
            for share, index, document, kept in _lines(work / "plan" / name):
                pieces, lengths = _pieces_of(load(share), index)
                if kept is not None:
                    kept = np.array(kept, bool)
                    pieces, lengths = pieces[np.repeat(kept, lengths)], lengths[kept]
                records.write(encode_example(document, pieces, lengths), pieces, lengths)
                arrays.write(pieces, lengths)
        (written / "shard.json").write_text(json.dumps(asdict(records.close())))


def _pieces_of(documents: Documents, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pieces, int32 [n], and sentence lengths, int32 [s], of one document."""
    first, last = documents.document_starts[index : index + 2]
    starts = documents.sentence_starts[first : last + 1]
    pieces = documents.pieces[starts[0] : starts[-1]]
    return pieces.astype(np.int32), np.diff(starts).astype(np.int32)


# Heads and plans lie where others may write, too: as JSON, of which nothing can run.


def _write_line(content: Any, file: BinaryIO) -> None:
    file.write(json.dumps(content, default=lambda value: value.tolist()).encode() + b"\n")


def _lines(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        yield from map(json.loads, file)


def _head(content: dict[str, Any]) -> _PlacedHead:
    arrays = {name: np.array(content[name], dtype) for name, dtype in _ARRAYS.items()}
    return _PlacedHead(**{**content, **arrays})


_ARRAYS = {
    "sentence_lengths": np.int32,
    "line_hashes": np.uint64,
    "line_sentences": np.int32,
    "line_unknown": np.int32,
}


@contextmanager
def _watch(
    folder: Path, shares: int, total_bytes: int, progress: Callable[[int], None]
) -> Iterator[None]:
    """Report, within the block, the shares that appear in a folder."""
    over = threading.Event()

    def look() -> None:
        seen = 0
        while not over.wait(1.0):
            done = sum(not name.startswith(".") for name in os.listdir(folder))
            progress(done * total_bytes // shares - seen * total_bytes // shares)
            seen = done

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
