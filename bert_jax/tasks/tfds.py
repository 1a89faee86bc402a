"""Data sets of TFDS by name: splits as records, or as tables. No TensorFlow."""

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from bert_jax.errors import UserError
from bert_jax.tasks.tables import Table

# TFDS knows a dataset of these by name only once the package that defines it is imported.
_FAMILIES = ("text", "question_answering")


def read_tfds_table(name: str, split: str) -> Table:
    """Return a split of a TFDS dataset as a table; class labels become their names.

    A hidden label (-1, as in GLUE's test splits) becomes None.

    Args:
        name: as TFDS has it, such as `glue/cola` or `ag_news_subset`.
        split: such as `train` or `validation_matched`.

    Raises:
        UserError: no such dataset or split.
    """
    features, records = open_split(name, split)
    columns: dict[str, list[Any]] = {column: [] for column in features}
    for record in records:
        for column, values in columns.items():
            values.append(as_plain(record[column], features[column]))
    return Table(f"tfds:{name}:{split}", columns, list(range(1, len(records) + 1)))


def tfds_label_names(name: str, column: str) -> tuple[str, ...]:
    """The class names of a column, in the order of their numbers."""
    return tuple(_builder(name).info.features[column].names)


def open_split(name: str, split: str) -> tuple[Any, Any]:
    """The features of a data set, and the records of a split, to be counted and iterated.

    Raises:
        UserError: no such data set or split.
    """
    tfds, builder = _tfds(), _builder(name)
    try:
        records = tfds.data_source(
            name, split=split, builder_kwargs={"file_format": "array_record"}
        )
    except Exception as error:  # TFDS raises a different type for every way this fails
        raise UserError(
            f"got tfds:{name} split {split}, which cannot be read ({_one_line(error)}); expected"
            " one prepared as array_record (tfds build --file_format=array_record)"
        ) from error
    return builder.info.features, _Records(records)


class _Records:
    def __init__(self, records: Any):
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Any]:
        return (self._records[number] for number in range(len(self._records)))


def _builder(name: str) -> Any:
    for family in _FAMILIES:
        importlib.import_module(f"tensorflow_datasets.{family}")
    tfds = _tfds()
    try:
        return tfds.builder(name, file_format="array_record")
    except (tfds.core.registered.DatasetNotFoundError, ValueError) as error:
        raise UserError(
            f"got tfds:{name}, which TFDS {tfds.__version__} does not know ({_one_line(error)});"
            " expected a name or name/config"
        ) from error


def as_plain(value: Any, feature: Any) -> Any:
    """A value as Python has it; of a class label its name, None where it is hidden."""
    names = getattr(feature, "names", None)
    if names and isinstance(value, np.ndarray) and value.ndim:
        return [as_plain(each, feature) for each in value]
    if names:
        return None if int(value) < 0 else names[int(value)]
    if isinstance(value, bytes | str):
        return as_text(value)
    return value.item() if isinstance(value, np.generic | np.ndarray) and value.ndim == 0 else value


def as_text(value: Any) -> str:
    """Bytes as text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split("\n", 1)[0].split())[:200]


def _tfds() -> Any:
    # Imported when needed: it takes more than a second, and local files do not need it.
    import tensorflow_datasets

    return tensorflow_datasets
