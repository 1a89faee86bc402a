"""What a training step computes, in floating-point operations."""

from __future__ import annotations

from bert_jax.config import BertConfig


def step_flops(config: BertConfig, batch_size: int, length: int, predictions: int) -> int:
    """Floating-point operations of a pretraining step's matrix products; backward is twice forward.

    Args:
        config: sizes of the model.
        batch_size: B.
        length: L.
        predictions: P, masked slots a row; the decoder computes at these alone.
    """
    d, f = config.hidden_size, config.intermediate_size
    layer = length * (4 * d * d + 2 * d * f) + 2 * length * length * d
    heads = predictions * (d * d + d * config.vocab_size) + d * d + 2 * d  # MLM; pooler, NSP
    return 3 * 2 * batch_size * (config.num_hidden_layers * layer + heads)
