"""Attention with the published dropout in a kernel of our own, for NVIDIA GPUs and TPUs.

What einsum attention computes, dropping the very weights that it drops, without ever holding an
array [B, N, L, L]: whether a weight is kept is a hash of where it stands (`dropout.py`), which a
kernel computes where it needs it. `flash_kernels.py` holds the kernels; here lies what is around
them: arrays in the order a device wants, rows as long as whole blocks, and what is kept for the
backward pass, which is the inputs, the output and one number for each query and head.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.kernels.attention import AttentionMask, Place, instance_ids_of, unplaced
from bert_jax.kernels.dropout import row_words


def _tpu_params() -> Any:
    from jax.experimental.pallas import tpu

    return tpu.CompilerParams(dimension_semantics=("parallel",) * 3)


def _gpu_params() -> Any:
    from jax.experimental.pallas import triton

    return triton.CompilerParams(num_warps=4, num_stages=2)


@dataclasses.dataclass(frozen=True)
class Target:
    """A kind of device, and what its kernels want.

    Attributes:
        heads_first: arrays [B, N, L, H] instead of [B, L, N, H].
        least: positions of a block, or a power of two times as many,
        most: up to this in half precision; in fp32, half of it, or registers do not suffice.
        whole_width: the width of a head, as it must be padded to.
        params: for Pallas's compiler; None interprets the kernels, slowly, on any device.
    """

    heads_first: bool
    least: int
    most: int
    whole_width: Callable[[int], int]
    params: Callable[[], Any] | None

    def interpreted(self, least: int = 0, most: int = 0) -> "Target":
        """The same kernels for any device: slow, for tests; with other blocks if given."""
        return dataclasses.replace(
            self, params=None, least=least or self.least, most=most or self.most
        )

    def padded(self, length: int, dtype: Any) -> tuple[int, int]:
        """A length in whole blocks, and a block's."""
        padded = self.least * math.ceil(length / self.least)
        return padded, math.gcd(padded, 2 * self.most // np.dtype(dtype).itemsize)


TPU = Target(True, 128, 512, lambda width: width, _tpu_params)
GPU = Target(False, 32, 64, lambda width: 1 << max(width - 1, 15).bit_length(), _gpu_params)


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: AttentionMask | None,
    rate: float,
    seed: jax.Array | None,
    *,
    target: Target,
    place: Place = unplaced,
) -> jax.Array:
    """Return dropout(attention weights) · value; see `attention.attend_plainly`.

    Args:
        query, key, value, mask, rate, seed: see `attention.attend_plainly`.
        target: `GPU` or `TPU`.
        place: spreads a function over devices, whose arguments are query, key, value
            [B, L, N, H], instance ids [B, L], and an array [B, 1, N, 4] that goes where the heads
            go; a kernel, unlike all else, is not cut by XLA's partitioner.

    Raises:
        UserError: a mask that is not made of instance ids.
    """
    rows, length, heads, _ = query.shape
    ids = instance_ids_of(mask, query, kernel="flash")
    # A query that may look at nothing looks at everything equally.
    ids = jnp.where(jnp.any(ids != 0, axis=1, keepdims=True), ids, -1)
    kernel = functools.partial(_attend_within, 0.0 if seed is None else rate, target)
    return place(kernel)(query, key, value, ids, _hashing(seed, rows, length, heads))


def _hashing(seed: jax.Array | None, rows: int, length: int, heads: int) -> jax.Array:
    """What the hash wants to know of each row and head, wherever they are computed: [B, 1, N, 4].

    Two words of the row, the index of the head's first weight, and a filler.
    """
    if seed is None:
        return jnp.zeros((rows, 1, heads, 4), jnp.uint32)
    first = jnp.arange(heads, dtype=jnp.uint32) * np.uint32(length**2)
    words = (word[:, None, None] for word in row_words(seed, rows))
    parts = (*words, first[None, None, :], jnp.zeros((), jnp.uint32))
    return jnp.stack([jnp.broadcast_to(x, (rows, 1, heads)) for x in parts], axis=-1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attend_within(
    rate: float,
    target: Target,
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    ids: jax.Array,
    hashing: jax.Array,
) -> jax.Array:
    return _attend_forward(rate, target, query, key, value, ids, hashing)[0]


_Residuals = tuple[jax.Array, ...]


def _attend_forward(
    rate: float,
    target: Target,
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    ids: jax.Array,
    hashing: jax.Array,
) -> tuple[jax.Array, _Residuals]:
    from bert_jax.kernels import flash_kernels

    grid = _Grid(target, query, rate)
    q, k, v = (grid.ordered(x) for x in (query, key, value))
    mixed, log_sums = grid.run(
        flash_kernels.flash_forward,
        [*grid.known(ids, hashing), grid.block_of(q), grid.row_of(k), grid.row_of(v)],
        [grid.block_of(v), grid.numbers_of_block(grid.numbers())],
    )
    mixed = grid.as_given(mixed)
    return mixed, (query, key, value, ids, hashing, mixed, log_sums)


def _attend_backward(
    rate: float, target: Target, residuals: _Residuals, g: jax.Array
) -> tuple[jax.Array | None, ...]:
    from bert_jax.kernels import flash_kernels

    query, key, value, ids, hashing, mixed, log_sums = residuals
    grid = _Grid(target, query, rate)
    gains = jnp.einsum("BLNH,BLNH->BNL", g.astype(jnp.float32), mixed.astype(jnp.float32))
    gains = jnp.pad(gains, ((0, 0), (0, 0), (0, grid.padded - grid.length)))[:, :, None, :]
    q, k, v, g = (grid.ordered(x) for x in (query, key, value, g))
    (dquery,) = grid.run(
        flash_kernels.flash_backward_of_queries,
        [
            *grid.known(ids, hashing), grid.block_of(q), grid.row_of(k), grid.row_of(v),
            grid.block_of(g), grid.numbers_of_block(log_sums), grid.numbers_of_block(gains),
        ],
        [grid.block_of(q)],
    )  # fmt: skip
    dkey, dvalue = grid.run(
        flash_kernels.flash_backward_of_keys,
        [
            *grid.known(ids, hashing), grid.row_of(q), grid.block_of(k), grid.block_of(v),
            grid.row_of(g), grid.numbers_of_row(log_sums), grid.numbers_of_row(gains),
        ],
        [grid.block_of(k), grid.block_of(v)],
    )  # fmt: skip
    return *(grid.as_given(x) for x in (dquery, dkey, dvalue)), None, None


_attend_within.defvjp(_attend_forward, _attend_backward)


_Array = jax.Array | jax.ShapeDtypeStruct
_Seen = tuple[_Array, Any]  # an array, and the specification of its blocks


class _Grid:
    """The programs that share the work, one for each row, head and block; what each one sees."""

    def __init__(self, target: Target, query: jax.Array, rate: float):
        from bert_jax.kernels import flash_kernels

        self.target = target
        self.rows, self.length, self.heads, self.width = query.shape
        self.padded, self.block = target.padded(self.length, query.dtype)
        self.pair = flash_kernels.Pair(
            axis=2 if target.heads_first else 0,
            block=self.block,
            length=self.length,
            scale=self.width**-0.5,
            rate=rate,
            kept_scale=float(np.asarray(1 / (1 - rate), query.dtype)),
        )

    def ordered(self, states: jax.Array) -> jax.Array:
        """States [B, L, N, H] as the device wants them."""
        longer, wider = self.padded - self.length, self.target.whole_width(self.width) - self.width
        if longer or wider:
            states = jnp.pad(states, ((0, 0), (0, longer), (0, 0), (0, wider)))
        return states.swapaxes(1, 2) if self.target.heads_first else states

    def as_given(self, states: jax.Array) -> jax.Array:
        """The way back to [B, L, N, H]."""
        states = states.swapaxes(1, 2) if self.target.heads_first else states
        return states[:, : self.length, :, : self.width]

    def numbers(self) -> jax.ShapeDtypeStruct:
        """Of a number for each query and head, in fp32."""
        return jax.ShapeDtypeStruct((self.rows, self.heads, 1, self.padded), jnp.float32)

    def known(self, ids: jax.Array, hashing: jax.Array) -> list[_Seen]:
        """What every program knows of its row and head; what is added to a row is padding."""
        ids = jnp.pad(ids, ((0, 0), (0, self.padded - self.length)))[:, None, :]
        hashing = hashing.swapaxes(1, 2)
        return [
            (hashing, self._spec((None, None, 1, 4), lambda b, n, i: (b, n, 0, 0))),
            (ids, self._spec((None, 1, self.padded), lambda b, n, i: (b, 0, 0))),
        ]

    def row_of(self, states: _Array) -> _Seen:
        """States of a row and head."""
        return states, self._of_states(states, self.padded, lambda i: 0)

    def block_of(self, states: _Array) -> _Seen:
        """States of a block of them."""
        return states, self._of_states(states, self.block, lambda i: i)

    def numbers_of_row(self, numbers: _Array) -> _Seen:
        """The numbers of a row and head."""
        return numbers, self._spec((None, None, 1, self.padded), lambda b, n, i: (b, n, 0, 0))

    def numbers_of_block(self, numbers: _Array) -> _Seen:
        """The numbers of a block of them."""
        return numbers, self._spec((None, None, 1, self.block), lambda b, n, i: (b, n, 0, i))

    def run(
        self, kernel: Callable[..., None], inputs: list[_Seen], outputs: list[_Seen]
    ) -> list[jax.Array]:
        """Run a kernel of `flash_kernels`."""
        from jax.experimental import pallas as pl

        grid = (self.rows, self.heads, self.padded // self.block)
        call = pl.pallas_call(
            functools.partial(kernel, pair=self.pair, blocks=self.padded // self.block),
            grid=grid if self.target.heads_first else grid[::-1],
            in_specs=[spec for _, spec in inputs],
            out_specs=[spec for _, spec in outputs],
            out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype) for x, _ in outputs],
            interpret=self.target.params is None,
            compiler_params=self.target.params() if self.target.params else None,
        )
        with jax.named_scope(kernel.__name__):  # by which launch knows it in a program
            return call(*(x for x, _ in inputs))

    def _of_states(self, states: _Array, size: int, at: Callable[[Any], Any]) -> Any:
        width = states.shape[3]
        if self.target.heads_first:
            return self._spec((None, None, size, width), lambda b, n, i: (b, n, at(i), 0))
        return self._spec((None, size, None, width), lambda b, n, i: (b, at(i), n, 0))

    def _spec(self, shape: tuple[int | None, ...], at: Callable[..., tuple[Any, ...]]) -> Any:
        from jax.experimental import pallas as pl

        if self.target.heads_first:
            return pl.BlockSpec(shape, at)
        return pl.BlockSpec(shape, lambda i, n, b: at(b, n, i))
