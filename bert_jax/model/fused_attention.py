"""Attention by `jax.nn.dot_product_attention`: on a GPU cuDNN's kernel, elsewhere XLA's own.

No array [B, N, L, L] is kept where a kernel is used. The kernels drop no attention weights, so a
model that asks for that (`attention_probs_dropout_prob` above 0, as published) is refused while it
trains; without dropout, and wherever nothing is dropped, results are those of `products.attend`.
"""

import jax

from bert_jax.model.allowed import Allowed
from bert_jax.model.checks import drops_nothing


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    allowed: Allowed | None,
    rate: float,
    seed: jax.Array | None,
) -> jax.Array:
    """Return attention weights · value; see `products.attend`.

    A query that may look at nothing (padding) may give other numbers than there: nobody reads them.

    Raises:
        UserError: attention weights are to be dropped.
    """
    drops_nothing("fused", rate, seed)
    mask = None if allowed is None else allowed.mask
    return jax.nn.dot_product_attention(query, key, value, mask=mask)
