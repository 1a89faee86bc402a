"""One round of a hash on the device: every bit of a word spread over all its bits."""

import jax
import numpy as np


def mixed(x: jax.Array, a: int, b: int) -> jax.Array:
    """A finaliser of 32-bit hashes, one to one: uint32 of any shape to the same shape.

    Args:
        x: uint32.
        a, b: odd multipliers, as of MurmurHash3.
    """
    x = (x ^ (x >> 16)) * np.uint32(a)
    x = (x ^ (x >> 15)) * np.uint32(b)
    return x ^ (x >> 16)
