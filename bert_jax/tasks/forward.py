"""The forward pass of a model with an output layer, over all sequences there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from bert_jax.data.ahead import one_ahead
from bert_jax.data.row_layout import (
    Batch,
    Rows,
    Sequences,
    collect_sequences,
    collect_tokens,
    lay_out,
)
from bert_jax.parameters import Parameters, merge_model, stack_layers
from bert_jax.tasks.heads import Head


def forward(
    definition: nnx.GraphDef,
    head: Head,
    scan_layers: bool,
    params: Parameters,
    batch: Any,
    rngs: nnx.Rngs | None = None,
) -> jax.Array:
    """The head's logits of a batch, [B, I, C], or [B, L, C] where it scores tokens.

    Args:
        definition: of the model.
        head: its output layer.
        scan_layers: whether the definition stacks the layers; the parameters do not.
        params: layers unrolled.
        batch: as of `row_layout.lay_out`.
        rngs: gives dropout its randomness; None drops nothing.
    """
    instances, cls_positions = batch["instance_ids"], batch["cls_positions"]
    one_sequence_a_row = cls_positions.shape[1] == 1
    model = merge_model(definition, stack_layers(params) if scan_layers else params)
    inputs = {
        "token_type_ids": batch["token_type_ids"],
        "attention_mask": instances > 0 if one_sequence_a_row else instances,
        "position_ids": batch["position_ids"],
    }
    if not head.per_token:
        inputs["cls_positions"] = cls_positions
    return head.logits(model(batch["input_ids"], rngs=rngs, **inputs))


def predict(
    step: Callable[[Batch], jax.Array], head: Head, sequences: Sequences, rows: Sequence[Rows]
) -> np.ndarray:
    """The logits of all sequences, in their order.

    Args:
        step: starts `forward` of a batch on the device.
        head: the output layer.
        sequences: all that `rows` are made of.
        rows: how sequences are put into batches; packed or not, the result is the same.

    Returns:
        float32 [n, C], or [T, C] where the head scores tokens.
    """
    batches = ((number, lay_out(sequences, each, 0)) for number, each in enumerate(rows))
    ran = one_ahead(batches, lambda item: step(item[1]), jax.device_get)
    found = {number: logits for (number, _), logits in ran}
    collect = collect_tokens if head.per_token else collect_sequences
    return collect(sequences, found, rows)
