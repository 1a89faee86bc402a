"""Which attention a run computes with: named by its user, or chosen by backend and length.

    einsum   everywhere, whatever the mask
    flash    our own Pallas kernels, which drop the weights that einsum drops: on an NVIDIA GPU or
             a TPU
    fused    `jax.nn.dot_product_attention`, which drops none: on an NVIDIA GPU cuDNN's kernel
    splash   jax's Pallas kernel, which drops none, on a TPU
    auto     where weights are dropped, einsum, until flash has been timed on a device; else on a
             TPU splash for rows of 512 and more, on an NVIDIA GPU fused where cuDNN has a kernel
             (bfloat16, rows of even length); else einsum

What grows with the square of the length, N·L numbers a token, outweighs the 2·D + F of a layer's
other activations from about 512 on, where BERT-base has 6,144 beside 4,608: there a kernel that
never stores it pays first.
"""

import dataclasses
import functools

import jax
from jax.sharding import Mesh

from bert_jax.config import BertConfig
from bert_jax.errors import UserError
from bert_jax.kernels import flash_attention, fused_attention, splash_attention
from bert_jax.kernels.attention import Attend, AttentionMask
from bert_jax.kernels.products import Products
from bert_jax.training.sharding import over_rows_and_heads

ATTENTIONS = ("auto", "einsum", "flash", "fused", "splash")
_SPLASH_FROM = 512


def with_attention(
    products: Products, choice: str, config: BertConfig, mesh: Mesh, backend: str
) -> Products:
    """Return `products` with the attention of one of `ATTENTIONS`.

    Args:
        products: those of the backend, whose own attention is einsum.
        choice: see above.
        config: of the model.
        mesh: that the steps run on.
        backend: "cpu", "gpu" or "tpu", which may be another than this machine's.

    Raises:
        UserError: a kernel that drops nothing for a model that drops attention weights, or one
            that the backend lacks.
    """
    if choice not in ATTENTIONS:
        raise UserError(f"got attention={choice!r}; expected one of {', '.join(ATTENTIONS)}")
    rate = config.attention_probs_dropout_prob
    if choice in ("fused", "splash") and rate:
        raise UserError(
            f"got attention={choice}, which drops no attention weights, for a model with"
            f" attention_probs_dropout_prob={rate}; expected attention=auto, or that rate to be 0"
        )
    # A plan for GPUs may be compiled for CPU devices, and AMD's are GPUs too.
    kind = mesh.devices.flat[0].device_kind
    nvidia = kind.startswith("NVIDIA")
    if choice == "splash" and backend != "tpu":
        raise UserError(f"got attention=splash on a {backend}; expected a TPU, or attention=auto")
    if choice == "flash" and backend != "tpu" and not nvidia:
        raise UserError(
            f"got attention=flash on {kind} devices; expected an NVIDIA GPU or a TPU, or"
            " attention=auto"
        )
    if choice == "einsum" or (choice == "auto" and backend != "tpu" and not nvidia):
        return products
    place = over_rows_and_heads(mesh, config.num_attention_heads)
    flash: Attend = functools.partial(
        flash_attention.attend,
        target=flash_attention.TPU if backend == "tpu" else flash_attention.GPU,
        place=place,
    )
    splash: Attend = functools.partial(splash_attention.attend, place=place)
    fused: Attend = functools.partial(
        fused_attention.attend, implementation="cudnn" if nvidia else "xla"
    )
    if choice == "auto":
        kernel = splash if backend == "tpu" else fused
        return dataclasses.replace(products, attend=_chosen(backend, kernel, products.attend))
    return dataclasses.replace(
        products, attend={"flash": flash, "splash": splash, "fused": fused}[choice]
    )


def _chosen(backend: str, kernel: Attend, einsum: Attend) -> Attend:
    def attend(
        query: jax.Array,
        key: jax.Array,
        value: jax.Array,
        mask: AttentionMask | None,
        rate: float,
        seed: jax.Array | None,
    ) -> jax.Array:
        if backend == "tpu":
            describable = mask is None or mask.instance_ids is not None
            suits = describable and query.shape[1] >= _SPLASH_FROM
        else:
            suits = fused_attention.has_kernel(query)
        chosen = kernel if suits and seed is None else einsum
        return chosen(query, key, value, mask, rate, seed)

    return attend
