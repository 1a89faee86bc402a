"""Which attention a run computes with: named by its user, or chosen by backend and length.

    einsum   everywhere; the only one that drops attention weights, as BERT was published
    fused    `jax.nn.dot_product_attention`: on an NVIDIA GPU cuDNN's kernel
    splash   a Pallas kernel, on a TPU
    auto     where weights are dropped, einsum; else on a TPU splash for rows of 512 and more, on
             an NVIDIA GPU fused where cuDNN has a kernel (bfloat16, rows of even length); else
             einsum

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
from bert_jax.kernels import fused_attention, splash_attention
from bert_jax.kernels.attention import Attend, AttentionMask
from bert_jax.kernels.products import Products
from bert_jax.training.sharding import over_rows_and_heads

ATTENTIONS = ("auto", "einsum", "fused", "splash")
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
        UserError: a kernel for a model that drops attention weights, or splash without a TPU.
    """
    if choice not in ATTENTIONS:
        raise UserError(f"got attention={choice!r}; expected one of {', '.join(ATTENTIONS)}")
    rate = config.attention_probs_dropout_prob
    if choice in ("fused", "splash") and rate:
        raise UserError(
            f"got attention={choice} for a model with attention_probs_dropout_prob={rate};"
            " expected attention_dropout=0 beside it, since a kernel drops no attention weights,"
            " or attention=auto"
        )
    if choice == "splash" and backend != "tpu":
        raise UserError(f"got attention=splash on a {backend}; expected a TPU, or attention=auto")
    splash: Attend = functools.partial(
        splash_attention.attend, place=over_rows_and_heads(mesh, config.num_attention_heads)
    )
    # A plan for GPUs may be compiled for CPU devices, and AMD's are GPUs too.
    nvidia = mesh.devices.flat[0].device_kind.startswith("NVIDIA")
    fused: Attend = functools.partial(
        fused_attention.attend, implementation="cudnn" if nvidia else "xla"
    )
    if choice == "fused":
        return dataclasses.replace(products, attend=fused)
    if choice == "splash":
        return dataclasses.replace(products, attend=splash)
    if choice == "auto" and (backend == "tpu" or nvidia):
        kernel = splash if backend == "tpu" else fused
        return dataclasses.replace(products, attend=_chosen(backend, kernel, products.attend))
    return products


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
