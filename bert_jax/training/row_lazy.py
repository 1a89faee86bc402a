"""AdamW for a table of which a step touches few rows: all other rows stay as they are, bit for bit.

    gradient of the vectors looked up [B, L, D] ──added up by row──▶ [K, D]      K = min(V, B·L)
    table and both moments [V, D] ──gather──▶ [C, D] ──AdamW──▶ [C, D] ──scatter, in place──▶ [V, D]

C rows at a time, as often as there are rows.

    batch  7 4 7 9          rows    4 7 9 V     (K = 4; V pads: no such row)
                            places  1 0 1 2     the batch in terms of the rows: 7 is rows[1], …

A row is touched by a step whose gradient of it is not all zero. A row that is not touched keeps its
value and its moments, and no weight decay reaches it. Bias correction counts the updates of each
row, not those of the run: the first update of a rare piece is as large as that of a frequent one.
(With the run's count, as in TensorFlow's LazyAdam and torch's SparseAdam, a row first met late
moves 0.1 / sqrt(0.001) = 3.2 times as far, since its moments have grown from zero but once.) A row
that every step touches gets what dense AdamW gives it, bit for bit.

Nothing here is of the size of the table unless the gradient is: differentiate with respect to
`gather_rows(table, rows)`, and no array [V, D] is made beside the table and its moments.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Tables = Any  # a pytree whose leaves are tables [V, D]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TouchedRows:
    """The distinct ids of a batch, and the batch in terms of them: `rows[places] == ids`.

    Attributes:
        rows: int32 [K], ascending; the places that are left over hold V, which is no row.
        places: int32, as `ids` was shaped.
    """

    rows: jax.Array
    places: jax.Array


def touched_rows(ids: jax.Array, vocab_size: int) -> TouchedRows:
    """Find the distinct `ids`, int32 of any shape, 0 … V - 1.

    K is the smaller of V and the number of ids; above 512, the next multiple of 512.
    """
    most = min(vocab_size, ids.size)
    if most > _CHUNK:
        most = -(-most // _CHUNK) * _CHUNK
    rows, places = jnp.unique(ids, size=most, fill_value=vocab_size, return_inverse=True)
    return TouchedRows(rows, places.reshape(ids.shape))


def gather_rows(table: jax.Array, rows: jax.Array) -> jax.Array:
    """Return `table[rows]`, [K, …]; zeros where `rows` holds no row of the table."""
    return table.at[rows].get(
        mode="fill", fill_value=0, unique_indices=True, indices_are_sorted=True
    )


def put_rows(table: jax.Array, rows: jax.Array, values: jax.Array) -> jax.Array:
    """Return `table` with `values` [K, …] at `rows`; in place where the table is donated."""
    return table.at[rows].set(values, mode="drop", unique_indices=True, indices_are_sorted=True)


class RowLazyState(NamedTuple):
    """What `row_lazy_adamw` keeps.

    Attributes:
        step: int32 scalar, updates of the run; the learning rate is a function of it.
        counts: int32 [V] a table, updates that each row has had.
        mu: [V, D] a table, mean of the gradient.
        nu: [V, D] a table, mean of its square.
    """

    step: jax.Array
    counts: Tables
    mu: Tables
    nu: Tables


def row_lazy_adamw(
    rate: optax.Schedule,
    weight_decay: float,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
) -> optax.GradientTransformationExtraArgs:
    """AdamW that updates moments and values of touched rows only, for a pytree of tables [V, D].

    `update(gradients, state, params)` takes gradients [V, D] and finds the touched rows in them, as
    any optax transformation would. `update(gradients, state, params, rows=rows)` takes gradients
    [K, D] of the rows that may be touched, and returns the new tables themselves in the place of
    updates: its cost grows with the number of rows, and nothing is left to be added. Both lead to
    the same tables.

    Args:
        rate: learning rate as a function of the number of updates of the run.
        weight_decay: decoupled, multiplied by the rate.
        b1: memory of the mean.
        b2: memory of the mean square.
        eps: added to its root.
    """

    def init(tables: Tables) -> RowLazyState:
        return RowLazyState(
            step=jnp.zeros((), jnp.int32),
            counts=jax.tree.map(lambda table: jnp.zeros(table.shape[0], jnp.int32), tables),
            mu=jax.tree.map(jnp.zeros_like, tables),
            nu=jax.tree.map(jnp.zeros_like, tables),
        )

    def update(
        gradients: Tables,
        state: RowLazyState,
        params: Tables | None = None,
        *,
        rows: jax.Array | None = None,
        **_: Any,
    ) -> tuple[Tables, RowLazyState]:
        if params is None:
            raise ValueError("got params=None; expected the tables, which weight decay reads")
        scale = -jnp.asarray(rate(state.step), jnp.float32)

        def update_table(g, table, count, mu, nu) -> _Updated:
            if rows is None:
                return update_rows(g, table, count, mu, nu)

            # By what the step is compiled for, which need not be what this process runs on.
            return jax.lax.platform_dependent(
                rows,
                g,
                _Updated(table, count, mu, nu),
                cpu=functools.partial(update_chunks, _chunk_on_cpu(rows.size)),
                default=functools.partial(update_chunks, rows.size),
            )

        def update_chunks(chunk: int, rows: jax.Array, g: jax.Array, whole: _Updated) -> _Updated:
            def update_chunk(i: jax.Array, whole: _Updated) -> _Updated:
                at = jax.lax.dynamic_slice_in_dim(rows, i * chunk, chunk)
                here = [gather_rows(x, at) for x in whole]
                here.append(jax.lax.dynamic_slice_in_dim(g, i * chunk, chunk))
                # Behind the barrier, or XLA rounds otherwise where it fuses gathers and products.
                table_here, count_here, mu_here, nu_here, g_here = jax.lax.optimization_barrier(
                    tuple(here)
                )
                new = update_rows(g_here, table_here, count_here, mu_here, nu_here)
                new = new._replace(table=table_here + new.table)
                return _Updated(*(put_rows(x, at, y) for x, y in zip(whole, new, strict=True)))

            chunks = (jnp.sum(rows < whole.counted.size) + chunk - 1) // chunk
            return jax.lax.fori_loop(0, chunks, update_chunk, whole)

        def update_rows(g, table, count, mu, nu) -> _Updated:
            touched = jnp.max(jnp.abs(g), axis=1) != 0  # several times faster than any()
            count = count + touched
            mu_next = (1 - b1) * g + b1 * mu
            nu_next = (1 - b2) * g**2 + b2 * nu
            # One a row: behind the barrier, or XLA would raise to the power at every element. A
            # row without an update yet is divided by 1 - b, and its quotient not used.
            counted = jnp.maximum(count, 1)
            of_mu, of_nu = jax.lax.optimization_barrier((1 - b1**counted, 1 - b2**counted))
            direction = (mu_next / of_mu[:, None]) / (jnp.sqrt(nu_next / of_nu[:, None]) + eps)
            moves = touched[:, None]
            return _Updated(
                jnp.where(moves, scale, 0.0) * (direction + weight_decay * table),
                count,
                jnp.where(moves, mu_next, mu),
                jnp.where(moves, nu_next, nu),
            )

        each = jax.tree.map(update_table, gradients, params, state.counts, state.mu, state.nu)
        updates, counts, mu, nu = (
            jax.tree.map(lambda new, i=i: new[i], each, is_leaf=lambda x: isinstance(x, _Updated))
            for i in range(4)
        )
        return updates, RowLazyState(optax.safe_increment(state.step), counts, mu, nu)

    return optax.GradientTransformationExtraArgs(init, update)


class _Updated(NamedTuple):
    table: jax.Array
    counted: jax.Array
    mu: jax.Array
    nu: jax.Array


# Rows at a time on CPU: what a chunk computes stays in the cache, and no work is spent on padding.
_CHUNK = 512


def _chunk_on_cpu(rows: int) -> int:
    return rows if rows % _CHUNK else _CHUNK
