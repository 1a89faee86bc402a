"""Who may look at whom: the attention mask, and the instance ids it is made of.

instance ids         mask: rows are queries, columns keys

                     1 1 . .
1 1 2 0       ->     1 1 . .
                     . . 1 .
                     1 1 1 .     0 is padding: nobody looks at it, and what it sees itself
                                 does not matter
"""

import dataclasses

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Allowed:
    """Which keys each query may look at.

    Attributes:
        mask: boolean, broadcastable to [B, N, L, L]; true where the query of the third axis may
            look at the key of the last.
        instance_ids: [B, L] int32, the same in short: 0 for padding, equal numbers where positions
            see each other; None for a mask that no such numbers describe.
    """

    mask: jax.Array
    instance_ids: jax.Array | None


def within_instances(instance_ids: jax.Array) -> Allowed:
    """Every position sees its own instance only.

    Args:
        instance_ids: [B, L]. Boolean, true at real tokens: one instance a row, and a mask
            [B, 1, 1, L]. Whole numbers, 0 at padding: many, and a mask [B, 1, L, L].
    """
    ids = instance_ids.astype(jnp.int32)
    if instance_ids.dtype == jnp.bool:
        return Allowed(instance_ids[:, None, None, :], ids)
    query, key = ids[:, None, :, None], ids[:, None, None, :]
    return Allowed(((query == key) | (query == 0)) & (key != 0), ids)
