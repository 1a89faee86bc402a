"""Multi-head self-attention as BERT has it."""

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import BertConfig
from bert_jax.model.allowed import Allowed
from bert_jax.model.dropout import dropout_seed
from bert_jax.model.layers import Dense
from bert_jax.model.products import Products, attention_weights


class SelfAttention(nnx.Module):
    """Every position looks at every allowed position, with N heads of width H = D / N.

    Vaswani et al. 2017, section 3.2 (https://arxiv.org/abs/1706.03762). The kernels are [D, D];
    head n owns columns n·H … (n+1)·H - 1 of query, key and value and the same rows of output, so
    splitting that axis over devices splits heads.
    """

    def __init__(self, config: BertConfig, rngs: nnx.Rngs, products: Products):
        width, deviation = config.hidden_size, config.initializer_range
        self.query = Dense(width, width, deviation, rngs=rngs, products=products)
        self.key = Dense(width, width, deviation, rngs=rngs, products=products)
        self.value = Dense(width, width, deviation, rngs=rngs, products=products)
        self.output = Dense(width, width, deviation, rngs=rngs, products=products)
        self.heads = config.num_attention_heads
        self.rate = config.attention_probs_dropout_prob
        self.products = products

    def __call__(
        self, x: jax.Array, allowed: Allowed | None = None, *, rngs: nnx.Rngs | None = None
    ) -> jax.Array:
        """Attend within x [B, L, D] and return [B, L, D].

        Args:
            x: hidden states.
            allowed: which keys each query may look at; None allows everything.
            rngs: gives dropout its randomness; None drops nothing.
        """
        query, key, value = (self._split(part(x)) for part in (self.query, self.key, self.value))
        seed = dropout_seed(rngs, self.rate)
        mixed = self.products.attend(query, key, value, allowed, self.rate, seed)
        return self.output(mixed.reshape(x.shape))

    def weights(self, x: jax.Array, allowed: Allowed | None = None) -> jax.Array:
        """Return the attention maps [B, N, L, L] in fp32, before dropout: each row sums to 1."""
        return attention_weights(self._split(self.query(x)), self._split(self.key(x)), allowed)

    def _split(self, x: jax.Array) -> jax.Array:
        """Split the width into heads: [B, L, D] -> [B, L, N, H]."""
        return jnp.reshape(x, (*x.shape[:2], self.heads, -1))
