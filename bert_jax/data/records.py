"""Tokenised documents as the records of a TFDS dataset, written as they come, one at a time."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from bert_jax.data.tokenised import TokenisedDocument

NAME = "corpus"
# A file of a split ends after so many pieces: some 256 MB.
_SHARD_PIECES = 1 << 27


@dataclass(frozen=True)
class Shard:
    """What one file of records holds.

    Attributes:
        documents: how many.
        record_bytes: of all records.
        digest: a sha256 in hex of the pieces and sentence lengths of all documents in order.
    """

    documents: int
    record_bytes: int
    digest: str


class ShardWriter:
    """Writes one file of records, in the order they come, holding one at a time."""

    def __init__(self, path: Path):
        """Begin the file; it is whole once `close` was called."""
        # One record a group: documents are read at random.
        from array_record.python.array_record_module import ArrayRecordWriter

        self._writer = ArrayRecordWriter(str(path), "group_size:1")
        self._documents = self._bytes = 0
        self._digest = hashlib.sha256()

    def write(self, record: bytes, pieces: np.ndarray, sentence_lengths: np.ndarray) -> None:
        """Append a document: its record, and what that encodes, int32 [n] and int32 [s]."""
        self._writer.write(record)
        self._documents += 1
        self._bytes += len(record)
        self._digest.update(sentence_lengths.tobytes())
        self._digest.update(pieces.tobytes())

    def close(self) -> Shard:
        """Finish the file and say what is in it."""
        self._writer.close()
        return Shard(self._documents, self._bytes, self._digest.hexdigest())


class ShardNumbers:
    """Deals the documents of one split out to its shards, in order."""

    def __init__(self) -> None:
        self._number = self._pieces = 0

    def next(self, pieces: int) -> int:
        """Return which shard the next document, of so many pieces, goes to: 0, 0, …, 1, 1, …"""
        if self._pieces >= _SHARD_PIECES:
            self._number += 1
            self._pieces = 0
        self._pieces += pieces
        return self._number


def shard_path(folder: Path, split: str, number: int) -> Path:
    """Return where a shard of a dataset lies."""
    return folder / f"{NAME}-{split}.array_record-{number:05d}"


class RecordWriter:
    """Writes the splits of a dataset side by side, in the order their records come.

    TFDS's own builders collect up to 1 GB of records before they write one; this one holds a
    record.
    """

    def __init__(self, folder: Path, splits: Sequence[str]):
        """Begin a dataset with these splits in an existing, empty folder."""
        self._folder = folder
        self._numbers = {split: ShardNumbers() for split in splits}
        self._writers: dict[str, ShardWriter] = {}
        self.shards: dict[str, list[Shard]] = {split: [] for split in splits}

    def write(self, split: str, document: TokenisedDocument) -> None:
        """Append one document."""
        number = self._numbers[split].next(document.num_pieces)
        if split in self._writers and number > len(self.shards[split]):
            self.shards[split].append(self._writers.pop(split).close())
        if split not in self._writers:
            self._writers[split] = ShardWriter(shard_path(self._folder, split, number))
        self._writers[split].write(document.record, document.pieces, document.sentence_lengths)

    def __enter__(self) -> "RecordWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for split, writer in self._writers.items():
            self.shards[split].append(writer.close())


def write_metadata(folder: Path, shards: Mapping[str, Sequence[Shard]]) -> None:
    """Write what makes the shards of every split, in a folder, a TFDS dataset."""
    tfds = _tfds()
    identity = tfds.core.dataset_info.DatasetIdentity(
        name=NAME,
        version=tfds.core.Version("1.0.0"),
        data_dir=str(folder),
        module_name=__name__,
    )
    info = tfds.core.DatasetInfo(
        builder=identity,
        description="Documents as WordPiece ids; vocab.txt and corpus.json lie beside them.",
        features=record_features(),
    )
    info.set_file_format(tfds.core.FileFormat.ARRAY_RECORD)
    splits = [_split_info(folder, split, written) for split, written in shards.items()]
    info.set_splits(tfds.core.splits.SplitDict(splits))
    info.write_to_directory(folder)


def _split_info(folder: Path, split: str, shards: Sequence[Shard]) -> Any:
    tfds = _tfds()
    template = tfds.core.ShardedFileTemplate(
        dataset_name=NAME,
        data_dir=folder,
        split=split,
        filetype_suffix="array_record",
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}",
    )
    return tfds.core.SplitInfo(
        name=split,
        shard_lengths=[shard.documents for shard in shards],
        num_bytes=sum(shard.record_bytes for shard in shards),
        filename_template=template,
    )


def fingerprint(vocab_hash: str, shards: Mapping[str, Sequence[Shard]]) -> str:
    """Hex; the same for the same pieces in the same order, with the same vocabulary."""
    lines = [f"{split} {shard.digest}" for split, of in shards.items() for shard in of]
    return hashlib.sha256("\n".join([vocab_hash, *lines]).encode()).hexdigest()


def record_features() -> Any:
    """The TFDS features of a record: name, pieces int32 [n], sentence_lengths int32 [s]."""
    tfds = _tfds()
    numbers = tfds.features.Tensor(shape=(None,), dtype=np.int32)
    return tfds.features.FeaturesDict(
        {"name": tfds.features.Text(), "pieces": numbers, "sentence_lengths": numbers}
    )


def _tfds() -> Any:
    # Imported when needed: it takes more than a second, which worker processes need not pay.
    import tensorflow_datasets

    return tensorflow_datasets


def read_records(folder: str | Path, split: str) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield (name, pieces [n], sentence lengths [s]) of a split's documents, in order; int32."""
    builder = _tfds().builder_from_directory(folder)
    if not builder.info.splits[split].num_examples:
        return
    records = builder.as_data_source(split=split)
    for number in range(len(records)):
        record = records[number]
        yield record["name"].decode(), record["pieces"], record["sentence_lengths"]
