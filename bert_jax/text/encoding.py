"""Texts as pieces, and as padded arrays that go into a model: `model(**tokenizer(texts))`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from bert_jax.errors import UserError

Padding = Literal["longest", "max_length"]


@dataclasses.dataclass(frozen=True)
class Encoding:
    """A text, or a pair, as BERT reads it; four lists of one length L.

    `offsets` are half-open character spans (start, end) into the text the piece came from: into
    the first text where `type_ids` is 0, into the second where it is 1; (0, 0) at [CLS] and [SEP].
    """

    ids: list[int]
    type_ids: list[int]
    tokens: list[str]
    offsets: list[tuple[int, int]]


@dataclasses.dataclass(frozen=True, eq=False)
class BatchEncoding(Mapping[str, np.ndarray]):
    """B texts or pairs in rows of one length L; a mapping of its three arrays by name.

        input_ids        [CLS] cats [SEP] [PAD]
        token_type_ids     0    0     0     0
        attention_mask     1    1     1     0

    Attributes:
        input_ids: int32 [B, L].
        token_type_ids: int32 [B, L], 1 in the second text of a pair.
        attention_mask: int32 [B, L], 0 at padding.
    """

    input_ids: np.ndarray
    token_type_ids: np.ndarray
    attention_mask: np.ndarray

    def __getitem__(self, name: str) -> np.ndarray:
        """An array by its name."""
        if name not in _NAMES:
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        """The names, in the order in which models take the arrays."""
        return iter(_NAMES)

    def __len__(self) -> int:
        """Three."""
        return len(_NAMES)


_NAMES = tuple(field.name for field in dataclasses.fields(BatchEncoding))


def pad(
    encodings: Sequence[Encoding], pad_id: int, padding: Padding, max_length: int | None
) -> BatchEncoding:
    """Pad encoded texts to the longest, or to `max_length`.

    Raises:
        UserError: another padding, or one to a `max_length` that is not given.
    """
    if padding not in ("longest", "max_length"):
        raise UserError(f"got padding={padding!r}; expected longest or max_length")
    if padding == "max_length" and max_length is None:
        raise UserError("got padding=max_length without a max_length; expected one to pad to")
    longest = max((len(each.ids) for each in encodings), default=0)
    length = longest if padding == "longest" or max_length is None else max_length
    ids = np.full((len(encodings), length), pad_id, np.int32)
    types, mask = np.zeros_like(ids), np.zeros_like(ids)
    for row, each in enumerate(encodings):
        ids[row, : len(each.ids)] = each.ids
        types[row, : len(each.ids)] = each.type_ids
        mask[row, : len(each.ids)] = 1
    return BatchEncoding(ids, types, mask)
