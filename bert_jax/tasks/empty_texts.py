"""Texts of which the tokenizer leaves nothing: counted before learning, refused when asked about.

Such are the empty one, and those of white space, control and format characters alone: `" \\t"`,
a no-break space, U+200B.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bert_jax.errors import UserError
from bert_jax.tasks.examples import Remark
from bert_jax.tasks.features import Features
from bert_jax.tasks.task import Prepared


def have_empty_texts(features: Features) -> np.ndarray:
    """Which units have a text without a piece, bool [u]; of a pair, either text.

    [CLS] [SEP]   [CLS] [SEP] b [SEP]   [CLS] a [SEP] [SEP]
    """
    second = np.add.reduceat(features.type_ids, features.starts[:-1], dtype=np.int64)
    empty = (features.lengths - second == 2) | (second == 1)
    return np.logical_or.reduceat(empty, features.unit_starts[:-1])


def check_texts(features: Features) -> None:
    """Make sure that every text has a piece.

    Raises:
        UserError: one has none.
    """
    if have_empty_texts(features).any():
        raise UserError(
            "got a text without a piece (empty, or white space, control and format characters"
            " alone); expected words in every text"
        )


def empty_text_remarks(parts: Mapping[str, Prepared]) -> list[Remark]:
    """What to say of the texts of each part; nothing where all have a piece.

    Counted are examples; of an empty question, the windows of its context.

    texts without a piece: 3 of train, 1 of dev
    """
    counts = {part: int(have_empty_texts(each.features).sum()) for part, each in parts.items()}
    if not any(counts.values()):
        return []
    said = ", ".join(f"{n:,} of {part}" for part, n in counts.items() if n)
    return [Remark(f"texts without a piece: {said}", {"texts_without_a_piece": counts})]
