"""The encoder: multi-head self-attention and feed-forward, in post-LayerNorm transformer layers."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn.initializers import Initializer, truncated_normal

from bert_jax.config import BertConfig
from bert_jax.errors import UserError
from bert_jax.kernels.activations import ACTIVATIONS
from bert_jax.kernels.attention import AttentionMask, attention_weights, within_instances
from bert_jax.kernels.compute import Compute
from bert_jax.kernels.dropout import dropout, dropout_seed
from bert_jax.model.embeddings import LayerNorm, as_array


class Dense(nnx.Module):
    """Affine map of the last axis, computed in the dtype of its input.

    Args:
        inputs: width in.
        outputs: width out.
        deviation: standard deviation that the kernel [in, out] is drawn with; the bias [out]
            starts at zero.
        rngs: where the kernel's randomness comes from.
        compute: how to multiply.
        draw: the initializer of a deviation; BERT's truncated normal unless said otherwise.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        deviation: float,
        *,
        rngs: nnx.Rngs,
        compute: Compute,
        draw: Callable[[float], Initializer] = truncated_normal,
    ):
        self.kernel = nnx.Param(draw(deviation)(rngs.params(), (inputs, outputs), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((outputs,), jnp.float32))
        self.products = compute.products

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map x [..., in] to [..., out]."""
        return self.products.dense(x, self.kernel[...], self.bias[...])


class SelfAttention(nnx.Module):
    """Every position looks at every allowed position, with N heads of width H = D / N.

    Vaswani et al. 2017, section 3.2 (https://arxiv.org/abs/1706.03762). The kernels are [D, D];
    head n owns columns n·H … (n+1)·H - 1 of query, key and value and the same rows of output, so
    splitting that axis over devices splits heads.
    """

    def __init__(self, config: BertConfig, rngs: nnx.Rngs, compute: Compute):
        width, deviation = config.hidden_size, config.initializer_range
        self.query = Dense(width, width, deviation, rngs=rngs, compute=compute)
        self.key = Dense(width, width, deviation, rngs=rngs, compute=compute)
        self.value = Dense(width, width, deviation, rngs=rngs, compute=compute)
        self.output = Dense(width, width, deviation, rngs=rngs, compute=compute)
        self.heads = config.num_attention_heads
        self.rate = config.attention_probs_dropout_prob
        self.products = compute.products

    def __call__(
        self, x: jax.Array, mask: AttentionMask | None = None, *, rngs: nnx.Rngs | None = None
    ) -> jax.Array:
        """Attend within x [B, L, D] and return [B, L, D].

        Args:
            x: hidden states.
            mask: which keys each query may look at; None allows everything.
            rngs: gives dropout its randomness; None drops nothing.
        """
        query, key, value = (self._split(part(x)) for part in (self.query, self.key, self.value))
        seed = dropout_seed(rngs, self.rate)
        mixed = self.products.attend(query, key, value, mask, self.rate, seed)
        return self.output(mixed.reshape(x.shape))

    def weights(self, x: jax.Array, mask: AttentionMask | None = None) -> jax.Array:
        """Return the attention maps [B, N, L, L] in fp32, before dropout: each row sums to 1."""
        return attention_weights(self._split(self.query(x)), self._split(self.key(x)), mask)

    def _split(self, x: jax.Array) -> jax.Array:
        """Split the width into heads: [B, L, D] -> [B, L, N, H]."""
        return jnp.reshape(x, (*x.shape[:2], self.heads, -1))


class FeedForward(nnx.Module):
    """Two dense layers with the activation between them: D -> F -> D."""

    def __init__(self, config: BertConfig, rngs: nnx.Rngs, compute: Compute):
        width, wide = config.hidden_size, config.intermediate_size
        deviation = config.initializer_range
        self.up = Dense(width, wide, deviation, rngs=rngs, compute=compute)
        self.down = Dense(wide, width, deviation, rngs=rngs, compute=compute)
        self.activation = ACTIVATIONS[config.hidden_act]
        self.between = compute.products.between

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map x [..., D] to [..., D]."""
        return self.down(self.between(self.activation)(self.up(x)))


class EncoderLayer(nnx.Module):
    """Attention, then feed-forward; after each: dropout, residual, LayerNorm.

    LayerNorm comes after the residual sum ("post-LN"), as published.
    """

    def __init__(self, config: BertConfig, rngs: nnx.Rngs, compute: Compute):
        self.attention = SelfAttention(config, rngs, compute)
        self.attention_norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.feed_forward = FeedForward(config, rngs, compute)
        self.feed_forward_norm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.rate = config.hidden_dropout_prob
        self.between = compute.products.between

    def __call__(
        self, x: jax.Array, mask: AttentionMask | None = None, *, rngs: nnx.Rngs | None = None
    ) -> jax.Array:
        """Map hidden states x [B, L, D] to the next ones, in the dtype of x.

        Args:
            x: hidden states.
            mask: which keys each query may look at; None allows everything.
            rngs: gives dropout its randomness; None drops nothing.
        """
        y = self.attention(x, mask, rngs=rngs)
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
    compiles faster and runs slower, on CPU up to twice.
    """

    def __init__(self, config: BertConfig, rngs: nnx.Rngs, compute: Compute):
        layers = [EncoderLayer(config, rngs, compute) for _ in range(config.num_hidden_layers)]
        self.layers = (
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
            if compute.scan_layers
            else nnx.List(layers)
        )
        self.count = config.num_hidden_layers
        self.scan_layers = compute.scan_layers
        self.rematerialise = compute.rematerialise

    def __call__(
        self,
        x: jax.Array,
        mask: AttentionMask | None = None,
        *,
        rngs: nnx.Rngs | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> EncoderOutput:
        """Run hidden states x [B, L, D] through all layers.

        Args:
            x: the input representation.
            mask: which keys each query may look at; None allows everything.
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
            after = layer(x, mask, rngs=None if key is None else nnx.Rngs(dropout=key))
            return after, (
                after if output_hidden_states else None,
                layer.attention.weights(x, mask) if output_attentions else None,
            )

        step = self.rematerialise(step)
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


def as_attention_mask(mask: Any, rows: int, length: int) -> AttentionMask | None:
    """Turn what a user gives as an attention mask into one.

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
    mask = jnp.asarray(as_array("attention_mask", mask))
    if mask.shape == (rows, length):
        return within_instances(mask)
    if mask.shape == (rows, length, length):
        return AttentionMask(mask.astype(bool)[:, None, :, :], None)
    raise UserError(
        f"got attention_mask of shape {mask.shape}; expected [B, L] = {(rows, length)} or "
        f"[B, L, L] = {(rows, length, length)}"
    )
