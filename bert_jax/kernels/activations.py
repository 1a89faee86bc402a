"""The activation functions a configuration can name.

They compute in fp32 and return their input's dtype: transcendental functions lose too much in
bf16, and on CPU they are slower there.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Activation = Callable[[jax.Array], jax.Array]


def gelu(x: jax.Array) -> jax.Array:
    """GELU as published, x·Φ(x) with the error function (https://arxiv.org/abs/1606.08415)."""
    y = x.astype(jnp.float32)
    return (0.5 * y * (1.0 + jax.lax.erf(y * 0.7071067811865476))).astype(x.dtype)


def gelu_tanh(x: jax.Array) -> jax.Array:
    """GELU's tanh approximation, `gelu_new` at Hugging Face and in Google's TensorFlow code."""
    y = x.astype(jnp.float32)
    inner = 0.7978845608028654 * (y + 0.044715 * y * y * y)
    return (0.5 * y * (1.0 + jnp.tanh(inner))).astype(x.dtype)


def silu(x: jax.Array) -> jax.Array:
    """Return x · sigmoid(x), also called swish."""
    return jax.nn.silu(x.astype(jnp.float32)).astype(x.dtype)


def tanh(x: jax.Array) -> jax.Array:
    """Hyperbolic tangent."""
    return jnp.tanh(x.astype(jnp.float32)).astype(x.dtype)


def quick_gelu(x: jax.Array) -> jax.Array:
    """GELU's sigmoid approximation, x · sigmoid(1.702 x)."""
    y = x.astype(jnp.float32)
    return (y * jax.nn.sigmoid(1.702 * y)).astype(x.dtype)


def mish(x: jax.Array) -> jax.Array:
    """Return x · tanh(log(1 + eˣ)) (https://arxiv.org/abs/1908.08681)."""
    return jax.nn.mish(x.astype(jnp.float32)).astype(x.dtype)


def sigmoid(x: jax.Array) -> jax.Array:
    """Logistic sigmoid."""
    return jax.nn.sigmoid(x.astype(jnp.float32)).astype(x.dtype)


# The names are those of `bert_jax.config.ACTIVATION_NAMES`.
ACTIVATIONS: dict[str, Activation] = {
    "gelu": gelu,
    "gelu_fast": gelu_tanh,
    "gelu_new": gelu_tanh,
    "gelu_python": gelu,
    "gelu_pytorch_tanh": gelu_tanh,
    "leaky_relu": jax.nn.leaky_relu,
    "mish": mish,
    "quick_gelu": quick_gelu,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "sigmoid": sigmoid,
    "silu": silu,
    "swish": silu,
    "tanh": tanh,
}
