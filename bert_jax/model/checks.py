"""Checks of what a user hands to a model: before anything is compiled, in words.

Shapes and dtypes are always checked. Values are checked where they exist: an array inside
`jax.jit` has none yet.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.errors import UserError
from bert_jax.model.allowed import Allowed, within_instances


def as_ids(name: str, ids: Any, size: int | None, what: str) -> jax.Array:
    """Return ids as an int32 array [B, L] after checking shape, dtype and range.

    Args:
        name: how an error calls the argument.
        ids: whole numbers [B, L]: a jax or numpy array, or nested lists.
        size: ids must lie in 0 … size - 1; None leaves the range free.
        what: what the ids count, for the error, such as "the vocabulary".

    Raises:
        UserError: says the shape, dtype or id that was got, and what was expected.
    """
    ids = _as_array(name, ids)
    if not jnp.issubdtype(ids.dtype, jnp.integer):
        raise UserError(f"got {name} of dtype {ids.dtype}; expected whole numbers such as int32")
    if ids.ndim != 2:
        hint = f"; give {name}[None] for a single row" if ids.ndim == 1 else ""
        raise UserError(f"got {name} of shape {ids.shape}; expected two axes [B, L]{hint}")
    if size is not None and ids.size and not isinstance(ids, jax.core.Tracer):
        values = np.asarray(ids)
        wrong = (values < 0) | (values >= size)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise UserError(
                f"got {name}[{row}, {column}] = {values[row, column]}; expected ids from 0 to "
                f"{size - 1}, since {what} has {size} rows"
            )
    return jnp.asarray(ids).astype(jnp.int32)


def same_shape(name: str, got: jax.Array, wanted_name: str, wanted: jax.Array) -> None:
    """Check that two arrays have one shape.

    Raises:
        UserError: they do not; names both.
    """
    if got.shape != wanted.shape:
        raise UserError(
            f"got {name} of shape {got.shape} with {wanted_name} of shape {wanted.shape}; "
            "expected the same shape"
        )


def drops_nothing(kernel: str, rate: float, seed: jax.Array | None) -> None:
    """Check that no attention weights are to be dropped, which kernels do not do.

    Raises:
        UserError: they are: there is a seed.
    """
    if seed is not None:
        raise UserError(
            f"got attention_probs_dropout_prob={rate} with {kernel} attention, which drops no"
            " attention weights; expected 0, or einsum attention"
        )


def as_allowed(mask: Any, rows: int, length: int) -> Allowed | None:
    """Turn an attention mask into what attention weights are masked with.

    Args:
        mask: None; or [B, L], 0 at padding and equal where positions see each other (Boolean, or
            0 and 1, or the instance ids of packed rows); or [B, L, L], Boolean or 0 and 1, true
            where the query of the second axis may look at the key of the third.
        rows: B.
        length: L.

    Raises:
        UserError: another shape.
    """
    if mask is None:
        return None
    mask = jnp.asarray(_as_array("attention_mask", mask))
    if mask.shape == (rows, length):
        return within_instances(mask)
    if mask.shape == (rows, length, length):
        return Allowed(mask.astype(bool)[:, None, :, :], None)
    raise UserError(
        f"got attention_mask of shape {mask.shape}; expected [B, L] = {(rows, length)} or "
        f"[B, L, L] = {(rows, length, length)}"
    )


def _as_array(name: str, value: Any) -> jax.Array | np.ndarray:
    if isinstance(value, jax.Array | np.ndarray):
        return value
    try:
        return np.asarray(value)
    except ValueError:
        raise UserError(
            f"got {name} as lists of unequal length; expected rows of one length: pad them and "
            "give an attention_mask"
        ) from None
