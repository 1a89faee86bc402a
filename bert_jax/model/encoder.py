"""The encoder: post-LayerNorm transformer layers, unrolled or scanned."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import BertConfig
from bert_jax.model.activations import ACTIVATIONS
from bert_jax.model.allowed import Allowed
from bert_jax.model.attention import SelfAttention
from bert_jax.model.dropout import dropout, dropout_seed
from bert_jax.model.layers import Dense, LayerNorm
from bert_jax.model.products import Products
from bert_jax.model.rematerialisation import rematerialised


class FeedForward(nnx.Module):
    """Two dense layers with the activation between them: D -> F -> D."""

    def __init__(self, config: BertConfig, rngs: nnx.Rngs, products: Products):
        width, wide = config.hidden_size, config.intermediate_size
        deviation = config.initializer_range
        self.up = Dense(width, wide, deviation, rngs=rngs, products=products)
        self.down = Dense(wide, width, deviation, rngs=rngs, products=products)
        self.activation = ACTIVATIONS[config.hidden_act]
        self.between = products.between

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map x [..., D] to [..., D]."""
        return self.down(self.between(self.activation)(self.up(x)))


class EncoderLayer(nnx.Module):
    """Attention, then feed-forward; after each: dropout, residual, LayerNorm.

    LayerNorm stands after the residual sum ("post-LN"), as published.
    """

    def __init__(self, config: BertConfig, rngs: nnx.Rngs, products: Products):
        self.attention = SelfAttention(config, rngs, products)
        self.attention_norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.feed_forward = FeedForward(config, rngs, products)
        self.feed_forward_norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.rate = config.hidden_dropout_prob
        self.between = products.between

    def __call__(
        self, x: jax.Array, allowed: Allowed | None = None, *, rngs: nnx.Rngs | None = None
    ) -> jax.Array:
        """Map hidden states x [B, L, D] to the next ones, in the dtype of x.

        Args:
            x: hidden states.
            allowed: which keys each query may look at; None allows everything.
            rngs: gives dropout its randomness; None drops nothing.
        """
        y = self.attention(x, allowed, rngs=rngs)
        x = self._add(x, y, self.attention_norm, rngs)
        y = self.feed_forward(x)
        return self._add(x, y, self.feed_forward_norm, rngs)

    def _add(self, x: jax.Array, y: jax.Array, norm: LayerNorm, rngs: nnx.Rngs | None) -> jax.Array:
        add = self.between(functools.partial(_normalised_sum, rate=self.rate))
        return add(x, y, norm, dropout_seed(rngs, self.rate))


def _normalised_sum(
    x: jax.Array, y: jax.Array, norm: LayerNorm, seed: jax.Array | None, *, rate: float
) -> jax.Array:
    # In fp32 whatever the compute dtype: XLA fuses all of it into one pass.
    y = dropout(y.astype(jnp.float32), rate, seed)
    return norm(x.astype(jnp.float32) + y).astype(x.dtype)


@dataclasses.dataclass(frozen=True)
class EncoderOutput:
    """What the encoder computed; the tuples are None where not asked for."""

    last_hidden_state: jax.Array  # [B, L, D]
    hidden_states: tuple[jax.Array, ...] | None  # input, then after each layer: [B, L, D]
    attentions: tuple[jax.Array, ...] | None  # of each layer: [B, N, L, L]


class Encoder(nnx.Module):
    """A stack of encoder layers.

    Unrolled, `layers` is a list of `EncoderLayer`; scanned, it is one `EncoderLayer` whose
    parameters have a leading layer axis. Both start from the same numbers for the same `rngs`
    and compute the same function; `bert_jax.parameters` goes from one form to the other. Scanning
    compiles faster and runs slower, on CPU up to twice. `remat` is what the backward pass computes
    again; see `rematerialisation.py`.
    """

    def __init__(
        self,
        config: BertConfig,
        rngs: nnx.Rngs,
        products: Products,
        scan_layers: bool = False,
        remat: str = "none",
    ):
        layers = [EncoderLayer(config, rngs, products) for _ in range(config.num_hidden_layers)]
        self.layers = (
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
            if scan_layers
            else nnx.List(layers)
        )
        self.count = config.num_hidden_layers
        self.scan_layers = scan_layers
        self.remat = remat

    def __call__(
        self,
        x: jax.Array,
        allowed: Allowed | None = None,
        *,
        rngs: nnx.Rngs | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> EncoderOutput:
        """Run hidden states x [B, L, D] through all layers.

        Args:
            x: the input representation.
            allowed: which keys each query may look at; None allows everything.
            rngs: gives dropout its randomness; None drops nothing.
            output_hidden_states: also return the states before, between and after the layers.
            output_attentions: also return each layer's attention maps, before dropout.
        """
        # One key a layer, drawn before the loop: scanned and unrolled drop the same elements.
        keys = None if rngs is None else jax.random.split(rngs.dropout(), self.count)

        def step(
            x: jax.Array, one: tuple[EncoderLayer, jax.Array | None]
        ) -> tuple[jax.Array, tuple[jax.Array | None, jax.Array | None]]:
            layer, key = one
            after = layer(x, allowed, rngs=None if key is None else nnx.Rngs(dropout=key))
            return after, (
                after if output_hidden_states else None,
                layer.attention.weights(x, allowed) if output_attentions else None,
            )

        step = rematerialised(step, self.remat)
        each: tuple[Any, jax.Array | None] = (self.layers, keys)
        outputs: Any
        if self.scan_layers:
            last, outputs = jax.lax.scan(step, x, each)
        else:
            last, outputs = x, []
            for i, layer in enumerate(self.layers):
                last, output = step(last, (layer, None if keys is None else keys[i]))
                outputs.append(output)
            outputs = tuple(zip(*outputs, strict=True))
        after, weights = outputs
        return EncoderOutput(
            last_hidden_state=last,
            hidden_states=(x, *after) if output_hidden_states else None,
            attentions=tuple(weights) if output_attentions else None,
        )
