"""Which pieces of a row are hidden, and by what: masked language modelling.

As published (Devlin et al. 2018, 3.1 and `create_masked_lm_predictions` in the code): 15 % of the
tokens of a row are chosen; of these 80 % become [MASK], 10 % a random word, 10 % stay as they are.
The draw is made for each piece on its own, also when whole words are chosen, as in the original.
Masks are dynamic (Liu et al. 2019): every epoch hides other pieces of a row, and all draws are
hashes of (seed, epoch, row), so that a row can be masked anywhere, in any order.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bert_jax.data.compiling import compiled
from bert_jax.data.counter_rng import random_bits, random_index, scale_to_range
from bert_jax.errors import UserError


class Vocabulary(Protocol):
    """What masking needs to know of a vocabulary; `bert_jax.Tokenizer` has it."""

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


def default_max_predictions(length: int) -> int:
    """Return P for rows of `length` tokens: 15 %, rounded up to a multiple of 4 (128: 20)."""
    return -(-15 * length // 400) * 4


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
    """P, most predictions in a row; None: `default_max_predictions` of its length."""
    mask_fraction: float = 0.8
    """Share of predicted pieces replaced by [MASK]."""
    random_fraction: float = 0.1
    """Share replaced by a piece drawn uniformly from the vocabulary without special ids."""
    whole_word: bool = False
    """Choose whole words (a piece and the "##" pieces after it in its span), not single pieces.

    A word that would exceed the row's number of predictions is passed over, as in the original.
    """

    def __post_init__(self) -> None:
        if not 0.0 < self.rate < 1.0:
            raise UserError(f"got a masking rate of {self.rate}; expected one between 0 and 1")
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
        """Return P for rows of `length` tokens."""
        return self.max_predictions or default_max_predictions(length)

    @property
    def thresholds(self) -> tuple[np.uint64, np.uint64]:
        """Of 32 random bits: below the first, [MASK]; below the second, a random piece."""
        mask_below = round(self.mask_fraction * 2**32)
        random_below = round((self.mask_fraction + self.random_fraction) * 2**32)
        return np.uint64(mask_below), np.uint64(random_below)


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
    whole_word,
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
      rate, whole_word, thresholds: See `Masking`.
      mask_id, ordinary_ids, is_special, is_continuation: See `PieceTable`.
      positions, labels, weights: int32, int32, float32 [P], zeros; filled here.
    """
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
            whole_word
            and is_continuation[piece]
            and units > 0
            and unit_start[units - 1] + unit_length[units - 1] == position
        ):
            unit_length[units - 1] += 1
        else:
            unit_start[units] = position
            unit_length[units] = 1
            units += 1

    wanted = min(len(positions), max(1, round(token_count * rate)))
    chosen = np.zeros(token_count, np.bool_)
    count = 0
    for u in range(units):
        if count >= wanted:
            break
        other = u + random_index(key, np.uint64(u), units - u)
        unit_start[u], unit_start[other] = unit_start[other], unit_start[u]
        unit_length[u], unit_length[other] = unit_length[other], unit_length[u]
        if count + unit_length[u] <= wanted:
            chosen[unit_start[u] : unit_start[u] + unit_length[u]] = True
            count += unit_length[u]

    slot = 0
    for position in range(token_count):
        if not chosen[position]:
            continue
        positions[slot] = position
        labels[slot] = ids[position]
        weights[slot] = 1.0
        slot += 1
        # Counters from token_count on: those below chose the units.
        bits = random_bits(key, np.uint64(token_count + 2 * position))
        share = bits >> np.uint64(32)
        if share < thresholds[0]:
            ids[position] = mask_id
        elif share < thresholds[1]:
            bits = random_bits(key, np.uint64(token_count + 2 * position + 1))
            ids[position] = ordinary_ids[scale_to_range(bits, len(ordinary_ids))]
