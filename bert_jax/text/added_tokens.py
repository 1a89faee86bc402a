"""Tokens that people add to a vocabulary: found in a text before anything else is done to it.

[ENT] added    "The [ENT] sat."   ->   the [ENT] sat .      and not   the [ ent ] sat .
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import tokenizers


@dataclasses.dataclass(frozen=True)
class AddedToken:
    """An added token; the names and meaning of `AddedToken` of Hugging Face's tokenizers.

    Where several match, the leftmost is taken, and of those that start at the same place the
    longest.

        >>> from bert_jax import Tokenizer
        >>> pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cats", "[ENT]"]
        >>> tokenizer = Tokenizer(pieces, added=[AddedToken("[ENT]", normalized=False)])
        >>> tokenizer.encode("Cats[ENT]").tokens
        ['[CLS]', 'cats', '[ENT]', '[SEP]']

    Attributes:
        content: how it is written.
        single_word: whether it is found only where no letter, digit or _ touches it.
        lstrip: whether it takes the white space before it.
        rstrip: whether it takes the white space after it.
        normalized: whether it is looked for in the normalised text, and normalised itself: in an
            uncased vocabulary `[ent]` is then `[ENT]` too. Others are looked for first.
        special: whether `decode` leaves it out as it does [SEP].
        is_piece: whether words can be split into it, too, as into any piece of the vocabulary.
    """

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = True
    special: bool = False
    is_piece: bool = False

    def of_library(self) -> tokenizers.AddedToken:
        """The library's own."""
        values = {name: value for name, value in vars(self).items() if name != "is_piece"}
        return tokenizers.AddedToken(**values)


def pieces_of_words(pieces: Iterable[str], added: Iterable[AddedToken]) -> set[str]:
    """The pieces that words are cut into: all but tokens that were only added.

    An added token in the middle of the vocabulary counts as a piece, since the library gives
    added tokens the rows behind the last piece.
    """
    only_added = {token.content for token in added if not token.is_piece}
    rows = list(pieces)
    while rows and rows[-1] in only_added:
        rows.pop()
    return set(rows)
