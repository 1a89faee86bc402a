"""Token sequences with what is to be learned of them: what the readers' examples become, once."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from bert_jax.data.row_layout import Batch, Encoded, Rows, Sequences, sequences_of
from bert_jax.whole_file import whole_file

NO_LABEL = -1
"""The label of a token that stands for no word, and of an example whose label nobody knows."""

_VERSION = 2  # of the cached form; to be raised when what is computed changes


@dataclasses.dataclass(frozen=True)
class Features(Sequences):
    """n token sequences and what is to be learned of them.

    A unit is what is trained and scored as one: a sequence, or the choices of a question.
    """

    labels: np.ndarray
    """By the head: int32 [n] classes, float32 [n] values, int32 [T] tags, int32 [n, 2] first and
    last token of an answer, float32 [n] with 1 at right choices."""
    unit_starts: np.ndarray
    """int64 [u + 1]: unit i is the sequences `unit_starts[i]` … `unit_starts[i + 1] - 1`."""

    @property
    def unit_lengths(self) -> np.ndarray:
        """Tokens of the longest sequence of each unit, int64 [u]."""
        return np.maximum.reduceat(self.lengths, self.unit_starts[:-1])

    @property
    def unit_size(self) -> int:
        """Most sequences in a unit."""
        return int(np.diff(self.unit_starts).max())


LabelLayout = Callable[[Features, Rows, int], Batch]
"""Makes a batch's arrays of labels from features, rows, and the most sequences of a unit."""


def features_of(
    sequences: Sequence[Encoded], labels: np.ndarray, unit_sizes: Sequence[int] | None = None
) -> Features:
    """Lay sequences one after another.

    Args:
        sequences: as a tokenizer gives them.
        labels: see `Features.labels`.
        unit_sizes: sequences of each unit; None makes each a unit of its own.
    """
    plain = sequences_of(sequences)
    sizes = [1] * len(plain) if unit_sizes is None else unit_sizes
    starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    return Features(plain.ids, plain.type_ids, plain.starts, labels, starts)


def cached(
    folder: Path, description: Mapping[str, Any], make: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Return `make()`, from a file where it was made before from the same content.

    Args:
        folder: where the files lie; made where absent.
        description: JSON-able, all that the result depends on: hashes of the data and of the
            vocabulary, lengths, label names. Its own hash is the name of the file.
        make: computes the arrays.
    """
    text = json.dumps({"version": _VERSION, **description}, sort_keys=True)
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            return dict(saved)
    except Exception:  # not there, or damaged in any of the ways that an archive can be
        arrays = make()
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        np.savez(partial, allow_pickle=False, **cast(Any, arrays))
    return arrays


def as_arrays(content: Any) -> dict[str, np.ndarray]:
    """The arrays of a dataclass of arrays, for `cached`; those of a part inside are `part.name`."""
    arrays: dict[str, np.ndarray] = {}
    for field in dataclasses.fields(content):
        value = getattr(content, field.name)
        if dataclasses.is_dataclass(value):
            arrays |= {f"{field.name}.{k}": v for k, v in as_arrays(value).items()}
        else:
            arrays[field.name] = value
    return arrays


def from_arrays(arrays: Mapping[str, np.ndarray], part: str = "") -> dict[str, np.ndarray]:
    """The arguments of the dataclass, or of a part of it, from what `cached` returned."""
    prefix = f"{part}." if part else ""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix) and "." not in name.removeprefix(prefix)
    }
