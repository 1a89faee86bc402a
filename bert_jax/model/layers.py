"""Dense and LayerNorm: the two modules everything after the embeddings is built of."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn.initializers import Initializer, truncated_normal

from bert_jax.model.products import Products


def normal_table(rngs: nnx.Rngs, shape: tuple[int, ...], deviation: float) -> nnx.Param:
    """Draw a parameter from BERT's truncated normal: nothing beyond two deviations."""
    return nnx.Param(truncated_normal(deviation)(rngs.params(), shape, jnp.float32))


class Dense(nnx.Module):
    """Affine map of the last axis, computed in the dtype of its input.

    Args:
        inputs: width in.
        outputs: width out.
        deviation: of what the kernel [in, out] is drawn from; the bias [out] starts at zero.
        rngs: where the kernel's randomness comes from.
        products: how to multiply.
        draw: the initializer of a deviation; BERT's truncated normal unless said otherwise.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        deviation: float,
        *,
        rngs: nnx.Rngs,
        products: Products,
        draw: Callable[[float], Initializer] = truncated_normal,
    ):
        self.kernel = nnx.Param(draw(deviation)(rngs.params(), (inputs, outputs), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((outputs,), jnp.float32))
        self.products = products

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map x [..., in] to [..., out]."""
        return self.products.dense(x, self.kernel[...], self.bias[...])


class LayerNorm(nnx.Module):
    """Normalise the last axis to mean 0 and variance 1, then scale and shift. All in fp32.

    Ba et al. 2016 (https://arxiv.org/abs/1607.06450).
    """

    def __init__(self, width: int, epsilon: float):
        self.scale = nnx.Param(jnp.ones((width,), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((width,), jnp.float32))
        self.epsilon = epsilon

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalise x [..., D] of any float dtype; the result is fp32."""
        x = x.astype(jnp.float32)
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
        normal = centred * jax.lax.rsqrt(variance + self.epsilon)
        return normal * self.scale[...] + self.bias[...]
