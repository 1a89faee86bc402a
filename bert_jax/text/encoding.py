"""Texts as pieces, and as padded arrays that go into a model: `model(**tokenizer(texts))`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from bert_jax.errors import UserError
from bert_jax.text.valid_unicode import valid_unicode

Padding = Literal["longest", "max_length"]


@dataclasses.dataclass(frozen=True)
class Encoding:
    """A text, or a pair, as BERT reads it; four lists of one length L.

    `offsets` are half-open character spans (start, end) into the text the piece came from: into
    the first text where `type_ids` is 0, into the second where it is 1; (0, 0) at [CLS] and [SEP].
    They are those of transformers' fast tokenizers; `whole_spans` says what they leave out.
    """

    ids: list[int]
    type_ids: list[int]
    tokens: list[str]
    offsets: list[tuple[int, int]]


def whole_spans(
    text: str, offsets: Sequence[tuple[int, int]], removes: Callable[[str], bool]
) -> np.ndarray:
    """What each piece stands for in a text, with what normalising removed behind it: int32 [n, 2].

    Offsets end with the last character that a piece shows, as transformers' do: an accent that is
    stripped, or a control character, is beyond them. Spans take them in, up to the next piece or
    white space.

        text        P e r u + U+0301   now          "Perú", its accent a character of its own
        offsets     0-4                6-9
        spans       0-5                6-9

    Args:
        text: what was encoded.
        offsets: of the pieces, in order, without those of [CLS] and [SEP].
        removes: whether nothing is left of a character, `Tokenizer.removes`.
    """
    text = valid_unicode(text)[0]  # as it was encoded
    spans = np.array(offsets, np.int32).reshape(-1, 2)
    limits = np.append(spans[1:, 0], len(text))[: len(spans)]
    for i in np.flatnonzero(spans[:, 1] < limits):
        end = int(spans[i, 1])
        while end < limits[i] and text[end] != " " and removes(text[end]):
            end += 1
        spans[i, 1] = end
    return spans


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
