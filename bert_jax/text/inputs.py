"""From the pieces of one or two texts to BERT's input: [CLS] A [SEP] or [CLS] A [SEP] B [SEP]."""

from collections.abc import Sequence
from dataclasses import dataclass

from bert_jax.errors import UserError


@dataclass(frozen=True)
class Inputs:
    """One input row, not yet padded: `ids` and `type_ids`, each of length L.

    `first` and `second` tell how many pieces of each text were kept.
    """

    ids: list[int]
    type_ids: list[int]
    first: int
    second: int


def make_inputs(
    first: Sequence[int],
    second: Sequence[int] | None,
    *,
    cls_id: int,
    sep_id: int,
    max_length: int | None = None,
) -> Inputs:
    """Frame one or two texts with [CLS] and [SEP], and name the segment of every position.

    The form BERT trains on closes **every** text with a [SEP], which belongs to that text's
    segment ("I like cats", "I like dogs"):

        pieces    [CLS] I like cats [SEP] I like dogs [SEP]
        type_ids    0   0   0    0    0   1   1    1    1

        >>> framed = make_inputs([7, 8], [9], cls_id=2, sep_id=3)
        >>> framed.ids, framed.type_ids
        ([2, 7, 8, 3, 9, 3], [0, 0, 0, 0, 1, 1])

    Args:
        first: pieces of text A, without special pieces.
        second: pieces of text B, or None for a single text.
        cls_id: row of [CLS] in the vocabulary.
        sep_id: row of [SEP] in the vocabulary.
        max_length: the most positions the row may have, special pieces counted; the texts are cut
            at their ends, longest first (`truncate_longest_first`). None cuts nothing.

    Raises:
        UserError: `max_length` has no room for the special pieces.

    Source: Devlin et al. 2019, §3, figure 2.
    """
    specials = 2 if second is None else 3
    if max_length is not None and max_length < specials:
        raise UserError(
            f"got max_length={max_length}; expected at least {specials}, "
            f"the [CLS] and [SEP] of {'one text' if second is None else 'a pair'}"
        )
    keep_first, keep_second = len(first), 0 if second is None else len(second)
    if max_length is not None:
        keep_first, keep_second = truncate_longest_first(
            keep_first, keep_second, max_length - specials
        )
    ids = [cls_id, *first[:keep_first], sep_id]
    type_ids = [0] * len(ids)
    if second is not None:
        ids += [*second[:keep_second], sep_id]
        type_ids += [1] * (keep_second + 1)
    return Inputs(ids, type_ids, keep_first, keep_second)


def truncate_longest_first(first: int, second: int, limit: int) -> tuple[int, int]:
    """Return how many pieces of each text to keep so that together they fit `limit`.

    The longer text is cut down to the length of the shorter one, then both are cut alike. Where an
    odd piece remains it goes to the text that was longer, and to the second where both were equal,
    as in the Rust library behind Hugging Face's tokenizers:

        first=9, second=3, limit=8  ->  5, 3        only the longer text pays
        first=9, second=7, limit=9  ->  5, 4        both pay
    """
    if first + second <= limit:
        return first, second
    short, long = min(first, second), max(first, second)
    short, long = (short, limit - short) if 2 * short <= limit else (limit // 2, -(-limit // 2))
    return (long, short) if first > second else (short, long)
