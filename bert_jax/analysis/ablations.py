"""The three parts of the input representation, each taken away in three ways.

A way is a value: what to put in the place of a part's module, what to do to a batch, and whether
the part's table is kept as it was drawn. The model itself knows nothing of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from bert_jax.data.counter_rng import shuffled, stream_key
from bert_jax.data.row_layout import Batch
from bert_jax.model.bert import BertForPreTraining

PARTS = ("token", "segment", "position")
_ARRAYS = {"token": "input_ids", "segment": "token_type_ids", "position": "position_ids"}
_SHUFFLE_STREAM = 17


class Removed(nnx.Module):
    """In the place of an embedding: adds nothing. Its table stays, unread."""

    def __init__(self, part: Any):
        self.table = part.table

    def __call__(self, ids: Any) -> jax.Array:
        """Return zeros [B, L, D] for ids [B, L]."""
        return jnp.zeros((*jnp.shape(ids), self.table.shape[1]))


def remove(part: str) -> Callable[[BertForPreTraining], None]:
    """Replace a part's module by `Removed`."""

    def change(model: BertForPreTraining) -> None:
        embeddings = model.bert.embeddings
        setattr(embeddings, part, Removed(getattr(embeddings, part)))

    return change


def shuffle(part: str) -> Callable[[Batch, int, int], Batch]:
    """Give the real tokens of each row this part's ids in an order drawn anew for each row.

    What a row holds stays; which token it belongs to does not. The order is a function of (seed,
    number of the batch, row).

        position_ids   0 1 2 3 4 5 | 0 0      →     3 0 5 1 4 2 | 0 0       | padding
    """
    name = _ARRAYS[part]

    def change(batch: Batch, seed: int, number: int) -> Batch:
        ids = batch[name].copy()
        for row, tokens in enumerate((batch["instance_ids"] > 0).sum(axis=1)):
            order = shuffled(stream_key(_SHUFFLE_STREAM, seed, number, row), int(tokens))
            ids[row, :tokens] = ids[row, order]
        return {**batch, name: ids}

    return change


def _same_model(model: BertForPreTraining) -> None:
    del model


def _same_batch(batch: Batch, seed: int, number: int) -> Batch:
    del seed, number
    return batch


@dataclasses.dataclass(frozen=True)
class Variant:
    """A model to train, and what is done to its batches.

    Attributes:
        part: "token", "segment", "position", or "none".
        way: "removed", "shuffled", "frozen", or "intact".
        change_model: replaces modules.
        change_batch: `change(batch, seed, number of the batch)`, in training and evaluation.
        frozen: whether the part's table keeps the values it was drawn with.
    """

    part: str
    way: str
    change_model: Callable[[BertForPreTraining], None] = _same_model
    change_batch: Callable[[Batch, int, int], Batch] = _same_batch
    frozen: bool = False

    @property
    def name(self) -> str:
        """`position-removed`, for example."""
        return self.way if self.part == "none" else f"{self.part}-{self.way}"

    @property
    def frozen_paths(self) -> tuple[str, ...]:
        """Of the parameters that keep their values (`bert_jax.training.freezing`)."""
        return (f"bert/embeddings/{self.part}",) if self.frozen else ()


VARIANTS = (
    Variant("none", "intact"),
    *(
        variant
        for part in PARTS
        for variant in (
            Variant(part, "removed", change_model=remove(part)),
            Variant(part, "shuffled", change_batch=shuffle(part)),
            Variant(part, "frozen", frozen=True),
        )
    ),
)


def real_ids(batch: Batch, part: str) -> np.ndarray:
    """The ids [B, L] that a part is looked up by."""
    return batch[_ARRAYS[part]]
