"""A table of which several groups of devices hold a copy each, for their own rows of the batch.

    table [V, D]          rows 0 1 2 3 4 5 6 7      one table for all rows
    copies [2, V, D]      rows 0 1 2 3 | 4 5 6 7    the first copy's and the second's

What is computed is the same. But the copies' gradients stay apart until somebody adds them up:
where a table is used more than once, what its uses give is added on each device, and sent once.
"""

from collections.abc import Callable

import jax


def by_copy(
    function: Callable[[jax.Array, jax.Array], jax.Array], table: jax.Array, rows: jax.Array
) -> jax.Array:
    """Return `function(table, rows)`, each copy with its share of the rows.

    Args:
        function: of a table [V, D] and rows [B, ...]; its result has the rows first, too.
        table: [V, D], or copies of it [C, V, D].
        rows: [B, ...], of which C is a divisor.
    """
    if table.ndim == 2:
        return function(table, rows)
    cut = rows.reshape(table.shape[0], -1, *rows.shape[1:])
    result = jax.vmap(function)(table, cut)
    return result.reshape(-1, *result.shape[2:])
