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
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from bert_jax.data.beam_files import Exchange
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
    with beam.exchange(folder / "work") as work:
        return _write(beam, work, source, tokenizer, selection, doctor, progress, folder, splits)


def _write(
    beam: BeamRun,
    work: Exchange,
    source: Source,
    tokenizer: Tokenizer,
    selection: Selection,
    doctor: Doctor,
    progress: Callable[[int], None],
    folder: Path,
    splits: Sequence[str],
) -> dict[str, list[Shard]]:
    tokenise_one = partial(_tokenise_share, tokenizer=tokenizer, work=work)
    told = 0

    def tell(shares: int) -> None:
        nonlocal told
        now = shares * (source.total_bytes or 0) // len(source.shares)
        progress(now - told)
        told = now

    beam.for_each(tokenise_one, list(enumerate(source.shares)), work / "tokenising", tell)
    planned = _plan(len(source.shares), selection, doctor, work, splits)
    write_one = partial(_write_shard, vocab_size=tokenizer.vocab_size, work=work)
    plans = [plan for split in splits for plan in planned[split]]
    beam.for_each(write_one, plans, work / "writing")
    shards: dict[str, list[Shard]] = {split: [] for split in splits}
    for split in splits:
        with ArraysWriter(folder / "arrays" / split, tokenizer.vocab_size) as arrays:
            for number, plan in enumerate(planned[split]):
                with work.read(f"written/{plan}") as written:
                    shutil.move(written / "records", shard_path(folder, split, number))
                    arrays.extend(Documents.load(written))
                    shard = json.loads((written / "shard.json").read_text())
                    shards[split].append(Shard(**shard))
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


def _share(number: int) -> str:
    return f"shares/{number:06d}"


def _tokenise_share(
    task: tuple[int, Callable[[], Iterator[Document]]], tokenizer: Tokenizer, work: Exchange
) -> None:
    number, read = task
    with (
        work.write(_share(number)) as share,
        ArraysWriter(share, tokenizer.vocab_size) as arrays,
        (share / "heads").open("wb") as heads,
    ):
        for index, document in enumerate(read()):
            tokenised = tokenise(document, tokenizer)
            arrays.write(tokenised.pieces, tokenised.sentence_lengths)
            head = {field.name: getattr(tokenised, field.name) for field in fields(DocumentHead)}
            _write_line({**head, "share": number, "index": index}, heads)


def _plan(
    shares: int, selection: Selection, doctor: Doctor, work: Exchange, splits: Sequence[str]
) -> dict[str, list[str]]:
    """Write, for every shard, which documents it holds: (share, index, name, kept) each.

    Returns the names of the plans of every split, in order.
    """
    numbers = {split: ShardNumbers() for split in splits}
    names: dict[str, list[str]] = {split: [] for split in splits}
    with ExitStack() as every:
        # Of a split, the plan that is being written, until the next one begins.
        open_plans = {split: every.enter_context(ExitStack()) for split in splits}
        files: dict[str, BinaryIO] = {}
        for split, head in select_documents(_heads(shares, work), selection, doctor):
            name = f"{split}-{numbers[split].next(head.num_pieces):06d}"
            if name not in names[split]:
                names[split].append(name)
                open_plans[split].close()
                plan = open_plans[split].enter_context(work.write(f"plan/{name}"))
                files[split] = open_plans[split].enter_context((plan / "documents").open("wb"))
            _write_line([head.share, head.index, head.name, head.kept], files[split])
    return names


def _heads(shares: int, work: Exchange) -> Iterator[_PlacedHead]:
    # By number, not by a list: workers that died may have left unfinished folders beside them.
    for number in range(shares):
        with work.read(_share(number)) as share:
            yield from map(_head, _lines(share / "heads"))


def _write_shard(name: str, vocab_size: int, work: Exchange) -> None:
    with (
        work.write(f"written/{name}") as written,
        work.read(f"plan/{name}") as plan,
        ExitStack() as shares,
    ):
        records = ShardWriter(written / "records")

        @lru_cache(8)
        def load(share: int) -> Documents:
            return Documents.load(shares.enter_context(work.read(_share(share))))

        with ArraysWriter(written, vocab_size) as arrays:
            for share, index, document, kept in _lines(plan / "documents"):
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
