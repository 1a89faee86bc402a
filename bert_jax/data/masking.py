"""Which pieces of a row are hidden, and by what: masked language modelling.

As published (Devlin et al. 2018, 3.1 and `create_masked_lm_predictions` in the code): 15 % of the
tokens of a row are chosen; of these 80 % become [MASK], 10 % a random word, 10 % stay as they are.
The draw is made for each piece on its own, also when whole words are chosen, as in the original.

Spans (Joshi et al. 2020, SpanBERT) are runs of whole words whose number is geometric with p = 0.2,
at most 10 (3.8 on average), from a word drawn uniformly; a span becomes [MASK], random or stays as
one. It ends early at a special token, at words that are hidden already, and where the row's number
of predictions is used up: what is hidden is always whole words.

Masks are dynamic (Liu et al. 2019): every epoch hides other pieces of a row, and all draws are
hashes of (seed, epoch, row), so that a row can be masked anywhere, in any order.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bert_jax.data.compiling import compiled
from bert_jax.data.counter_rng import random_bits, random_index, scale_to_range, substream
from bert_jax.errors import UserError


class Vocabulary(Protocol):
    """What masking needs to know about a vocabulary; `bert_jax.Tokenizer` has it."""

    @property
    def vocab_size(self) -> int:
        """V, number of pieces."""

    @property
    def pad_id(self) -> int:
        """Id of [PAD]."""

    @property
    def cls_id(self) -> int:
        """Id of [CLS]."""

    @property
    def sep_id(self) -> int:
        """Id of [SEP]."""

    @property
    def mask_id(self) -> int:
        """Id of [MASK]."""

    @property
    def special_ids(self) -> tuple[int, ...]:
        """Ids of all special tokens, [UNK] among them."""

    @property
    def is_continuation(self) -> np.ndarray:
        """bool [V], whether a piece continues a word ("##…")."""


def default_max_predictions(length: int, rate: float = 0.15) -> int:
    """Return P for rows of `length` tokens: their share, up to a multiple of 4 (128: 20).

    >>> default_max_predictions(128), default_max_predictions(512)
    (20, 80)
    """
    return math.ceil(round(length * rate / 4, 9)) * 4


@dataclass(frozen=True)
class Masking:
    """How rows are masked.

    ```
    input   [CLS] the red fox ##es [SEP] ran [SEP]        masked_positions  2 4
    masked  [CLS] the [MASK] fox oak [SEP] ran [SEP]      masked_labels     red ##es
    ```

    Never masked and never drawn as a replacement: the special ids, that is [CLS], [SEP], [PAD],
    [MASK], and [UNK], whose prediction would teach nothing.
    """

    rate: float = 0.15
    """Share of a row's tokens that is predicted ([CLS] and [SEP] count, as in the original)."""
    max_predictions: int | None = None
    """P, most predictions in a row; None: `default_max_predictions` at the highest rate."""
    mask_fraction: float = 0.8
    """Share of predicted pieces replaced by [MASK]."""
    random_fraction: float = 0.1
    """Share replaced by a piece drawn uniformly from the vocabulary without special ids."""
    whole_word: bool = False
    """Choose whole words (a piece and the "##" pieces after it in its span), not single pieces.

    A word that would exceed the row's number of predictions is passed over, as in the original.
    """
    longest_span: int = 1
    """Of whole words: most that are chosen as one; 1: each word on its own."""
    final_rate: float | None = None
    """The rate of the run's last step, reached evenly from `rate`; None: the rate stays."""

    def __post_init__(self) -> None:
        for rate in (self.rate, self.rate if self.final_rate is None else self.final_rate):
            if not 0.0 < rate < 1.0:
                raise UserError(f"got a masking rate of {rate}; expected one between 0 and 1")
        if self.longest_span < 1 or (self.longest_span > 1 and not self.whole_word):
            raise UserError(
                f"got longest_span={self.longest_span}, whole_word={self.whole_word}; expected at "
                "least 1, and spans of whole words only"
            )
        if self.max_predictions is not None and self.max_predictions < 1:
            raise UserError(f"got max_predictions={self.max_predictions}; expected at least 1")
        shares = (
            self.mask_fraction,
            self.random_fraction,
            self.mask_fraction + self.random_fraction,
        )
        if not all(0.0 <= share <= 1.0 for share in shares):
            raise UserError(
                f"got mask_fraction={self.mask_fraction}, random_fraction={self.random_fraction}; "
                "expected shares that add up to at most 1"
            )

    def predictions(self, length: int) -> int:
        """Return P for rows of `length` tokens, the same at every step."""
        highest = max(self.rate, self.final_rate or 0.0)
        return self.max_predictions or default_max_predictions(length, highest)

    def rate_at(self, progress: float) -> float:
        """Return the rate after a share of the run: 0 at its first step, 1 at its last."""
        if self.final_rate is None:
            return self.rate
        return self.rate * (1.0 - progress) + self.final_rate * progress

    @property
    def words_as_one(self) -> int:
        """Most words that are chosen as one; 0: pieces are chosen, not words."""
        return self.longest_span if self.whole_word else 0

    @property
    def thresholds(self) -> tuple[np.uint64, np.uint64]:
        """Of 32 random bits: below the first, [MASK]; below the second, a random piece."""
        mask_below = round(self.mask_fraction * 2**32)
        random_below = round((self.mask_fraction + self.random_fraction) * 2**32)
        return np.uint64(mask_below), np.uint64(random_below)


MASKINGS: dict[str, Masking] = {
    "token": Masking(),
    "whole_word": Masking(whole_word=True),
    "span": Masking(whole_word=True, longest_span=10),
}
"""What is chosen as one, by name; `dataclasses.replace` gives them other rates and shares."""


@dataclass(frozen=True)
class PieceTable:
    """A vocabulary as the compiled code reads it."""

    pad_id: int
    cls_id: int
    sep_id: int
    mask_id: int
    ordinary_ids: np.ndarray
    """int32 [V - specials], all ids that text can be masked from and replaced by."""
    is_special: np.ndarray
    """bool [V]."""
    is_continuation: np.ndarray
    """bool [V]."""

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> "PieceTable":
        """Return the table of `vocabulary`."""
        is_special = np.zeros(vocabulary.vocab_size, np.bool_)
        is_special[list(vocabulary.special_ids)] = True
        return cls(
            vocabulary.pad_id,
            vocabulary.cls_id,
            vocabulary.sep_id,
            vocabulary.mask_id,
            np.flatnonzero(~is_special).astype(np.int32),
            is_special,
            np.array(vocabulary.is_continuation, np.bool_),
        )


@compiled
def mask_row(
    key,
    ids,
    token_count,
    rate,
    words_as_one,
    thresholds,
    mask_id,
    ordinary_ids,
    is_special,
    is_continuation,
    positions,
    labels,
    weights,
):
    """Mask one row in place and fill its predictions, in ascending order of position.

    Args:
      key: uint64, the random stream of this row.
      ids: int32 [L], changed in place; only the first `token_count` are looked at.
      token_count: Real tokens of the row.
      rate, words_as_one, thresholds: See `Masking`.
      mask_id, ordinary_ids, is_special, is_continuation: See `PieceTable`.
      positions, labels, weights: int32, int32, float32 [P], zeros; filled here.
    """
    longest = int(words_as_one)
    # A unit is what is chosen as one: a piece, or a word. Unit u is the positions
    # unit_start[u] … unit_start[u] + unit_length[u].
    unit_start = np.empty(token_count, np.int32)
    unit_length = np.empty(token_count, np.int32)
    units = 0
    for position in range(token_count):
        piece = ids[position]
        if is_special[piece]:
            continue
        if (
            longest
            and is_continuation[piece]
            and units > 0
            and unit_start[units - 1] + unit_length[units - 1] == position
        ):
            unit_length[units - 1] += 1
        else:
            unit_start[units] = position
            unit_length[units] = 1
            units += 1

    # Where a word begins, its length: what follows a word in a span is found by its position.
    word_length = np.zeros(token_count if longest > 1 else 0, np.int32)
    if longest > 1:
        for u in range(units):
            word_length[unit_start[u]] = unit_length[u]

    wanted = min(len(positions), max(1, round(token_count * rate)))
    # Of a chosen piece, 1 + the position whose draw decides what takes its place.
    decided_at = np.zeros(token_count, np.int32)
    lengths_key = substream(key, 0)
    count = 0
    for u in range(units):
        if count >= wanted:
            break
        other = u + random_index(key, np.uint64(u), units - u)
        unit_start[u], unit_start[other] = unit_start[other], unit_start[u]
        unit_length[u], unit_length[other] = unit_length[other], unit_length[u]
        start, end = unit_start[u], unit_start[u] + unit_length[u]
        if longest > 1:
            if decided_at[start]:
                continue
            words = _span_words(random_bits(lengths_key, np.uint64(u)), longest)
            while words > 1 and end < token_count and word_length[end] and not decided_at[end]:
                if count + end + word_length[end] - start > wanted:
                    break
                end += word_length[end]
                words -= 1
        if count + end - start <= wanted:
            for position in range(start, end):
                decided_at[position] = 1 + (start if longest > 1 else position)
            count += end - start

    slot = 0
    for position in range(token_count):
        if not decided_at[position]:
            continue
        positions[slot] = position
        labels[slot] = ids[position]
        weights[slot] = 1.0
        slot += 1
        # Counters from token_count on: those below chose the units.
        bits = random_bits(key, np.uint64(token_count + 2 * (decided_at[position] - 1)))
        share = bits >> np.uint64(32)
        if share < thresholds[0]:
            ids[position] = mask_id
        elif share < thresholds[1]:
            bits = random_bits(key, np.uint64(token_count + 2 * position + 1))
            ids[position] = ordinary_ids[scale_to_range(bits, len(ordinary_ids))]


@compiled
def _span_words(bits, most):
    """Return how many words a span has, 1 … most: geometric with p = 0.2, without its tail."""
    # The share of the geometric distribution below `most`, of which a uniform number picks a point.
    point = (bits >> np.uint64(11)) * 2.0**-53 * (1.0 - 0.8**most)
    words = 1
    share = 0.2
    while words < most and point >= share:
        point -= share
        share *= 0.8
        words += 1
    return words
