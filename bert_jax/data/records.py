"""Tokenised documents as the records of a TFDS dataset, written as they come, one at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

NAME = "corpus"
_SHARD_BYTES = 256 << 20


class RecordWriter:
    """Writes the splits of a dataset side by side, in the order their records come.

    TFDS's own builders collect up to 1 GB of records before they write one; this one holds a
    record. Leaving the `with` block in peace writes the metadata that makes the files a dataset.
    """

    def __init__(self, folder: Path, splits: Sequence[str]):
        """Begin a dataset with these splits in an existing, empty folder."""
        self._folder = folder
        self._splits = {split: _Split(folder, split) for split in splits}

    def write(self, split: str, record: bytes) -> None:
        """Append one document, encoded by `example.encode_example`."""
        self._splits[split].write(record)

    def __enter__(self) -> "RecordWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for split in self._splits.values():
            split.close_shard()
        if kind is None:
            self._write_metadata()

    def _write_metadata(self) -> None:
        tfds = _tfds()
        identity = tfds.core.dataset_info.DatasetIdentity(
            name=NAME,
            version=tfds.core.Version("1.0.0"),
            data_dir=str(self._folder),
            module_name=__name__,
        )
        info = tfds.core.DatasetInfo(
            builder=identity,
            description="Documents as WordPiece ids; vocab.txt and corpus.json lie beside them.",
            features=record_features(),
        )
        info.set_file_format(tfds.core.FileFormat.ARRAY_RECORD)
        splits = [split.info() for split in self._splits.values()]
        info.set_splits(tfds.core.splits.SplitDict(splits))
        info.write_to_directory(self._folder)


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


class _Split:
    def __init__(self, folder: Path, name: str):
        self._folder = folder
        self._name = name
        self._shard_lengths: list[int] = []
        self._shard_bytes = 0
        self._bytes = 0
        self._writer: ArrayRecordWriter | None = None

    def write(self, record: bytes) -> None:
        if self._writer is None:
            shard = len(self._shard_lengths)
            path = self._folder / f"{NAME}-{self._name}.array_record-{shard:05d}"
            # One record a group: documents are read at random.
            self._writer = ArrayRecordWriter(str(path), "group_size:1")
            self._shard_lengths.append(0)
            self._shard_bytes = 0
        self._writer.write(record)
        self._shard_lengths[-1] += 1
        self._shard_bytes += len(record)
        self._bytes += len(record)
        if self._shard_bytes >= _SHARD_BYTES:
            self.close_shard()

    def close_shard(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def info(self) -> Any:
        tfds = _tfds()
        template = tfds.core.ShardedFileTemplate(
            dataset_name=NAME,
            data_dir=self._folder,
            split=self._name,
            filetype_suffix="array_record",
            template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}",
        )
        return tfds.core.SplitInfo(
            name=self._name,
            shard_lengths=self._shard_lengths,
            num_bytes=self._bytes,
            filename_template=template,
        )


def read_records(folder: str | Path, split: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (pieces [n], sentence lengths [s]), both int32, of a split's documents, in order."""
    builder = _tfds().builder_from_directory(folder)
    if not builder.info.splits[split].num_examples:
        return
    records = builder.as_data_source(split=split)
    for number in range(len(records)):
        record = records[number]
        yield record["pieces"], record["sentence_lengths"]
