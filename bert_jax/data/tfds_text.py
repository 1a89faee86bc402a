"""Any TFDS text dataset as documents: one record, one document. No TensorFlow."""

import importlib
import os
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from bert_jax.arguments import is_url
from bert_jax.data.document import Document, cut_text, decode
from bert_jax.errors import UserError
from bert_jax.mirror import at_hand

# TFDS knows a dataset of these by name only once the package that defines it is imported.
_FAMILIES = ("text", "summarization", "translate", "text_simplification", "question_answering")


class TfdsText:
    """The train split of one TFDS dataset, read in the order it lies on disk.

    Example:
        TfdsText("ag_news_subset", "description")
        TfdsText("wikipedia/20230601.en")                 # its only column called "text"
        TfdsText("/data/tensorflow_datasets/my_set/1.0.0")   # a prepared folder
    """

    def __init__(self, name: str, text_column: str | None = None):
        """Find a dataset, and prepare it where it is not (TFDS may then download it).

        Args:
            name: `dataset`, `dataset/config`, `dataset/config:version`, or the folder of a
                prepared one, also in a bucket. Names are looked for where TFDS does:
                $TFDS_DATA_DIR, else ~/tensorflow_datasets.
            text_column: which column holds the text; None takes "text" or the only text column.

        Raises:
            UserError: no such dataset, it cannot be prepared or read without TensorFlow, it has
                no train split, or no such column.
        """
        self.name = name
        place = str(at_hand(name)) if is_url(name) else name
        builder = _find(name, place)
        self.column = _choose_column(name, builder.info.features, text_column)
        self.identity = f"tfds:{builder.info.full_name} {self.column}"
        try:
            if os.path.isdir(place):
                self._records: Any = builder.as_data_source(split="train")
            else:
                self._records = tfds.data_source(
                    name, split="train", builder_kwargs={"file_format": "array_record"}
                )
        except Exception as error:  # TFDS raises a different type for every way this fails
            raise UserError(
                f"got tfds:{name}, whose train split cannot be read: {_one_line(error)}; expected "
                "one prepared as array_record (tfds build --file_format=array_record)"
            ) from error

    def __len__(self) -> int:
        return len(self._records)

    def __reduce__(self) -> tuple[Any, ...]:
        return TfdsText, (self.name, self.column)  # opened anew where it is unpickled

    def read(self, start: int, stop: int) -> Iterator[Document]:
        """Yield the documents of the records `start` to `stop`, as far as there are any."""
        for number in range(start, min(stop, len(self))):
            value = self._records[number][self.column]
            text, bad_bytes = decode(value) if isinstance(value, bytes) else (str(value), 0)
            for part, piece in enumerate(cut_text(text), 1):
                name = f"tfds:{self.name}:{number}" + (f"#{part}" if part > 1 else "")
                yield Document(name, piece, bad_bytes, len(piece))
                bad_bytes = 0


def _find(name: str, place: str) -> tfds.core.DatasetBuilder:
    if os.path.isdir(place):
        try:
            return tfds.builder_from_directory(place)
        except Exception as error:
            raise UserError(
                f"got tfds:{name}, which is not a prepared TFDS dataset ({_one_line(error)}); "
                "expected the folder with its dataset_info.json"
            ) from error
    for family in _FAMILIES:
        importlib.import_module(f"tensorflow_datasets.{family}")
    try:
        return tfds.builder(name, file_format="array_record")
    except (tfds.core.registered.DatasetNotFoundError, ValueError) as error:
        raise UserError(
            f"got tfds:{name}, which TFDS {tfds.__version__} does not know "
            f"({_one_line(error)}); expected a name, name/config, or the folder of a prepared one"
        ) from error


def _choose_column(name: str, features: Any, column: str | None) -> str:
    texts: list[str] = [key for key in features if isinstance(features[key], tfds.features.Text)]
    if column is not None and column in texts:
        return column
    if column is None and ("text" in texts or len(texts) == 1):
        return "text" if "text" in texts else texts[0]
    got = f"text column {column!r} for" if column else "no text column for"
    raise UserError(f"got {got} tfds:{name}; expected `text_column`, one of {sorted(texts)}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split("\n", 1)[0].split())[:200]
