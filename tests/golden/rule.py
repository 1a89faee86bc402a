"""The numbers of the golden cases, by rule: both sides compute them, so no weights are stored.

Needs numpy alone: `make_huggingface.py` runs it beside torch, the tests beside jax.
"""

import math
import zlib

import numpy as np

_COMMON = {
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "max_position_embeddings": 20,
}
# name -> fields of the configuration; lengths of the rows, padded to the longest
CASES = {
    "gelu": {
        **_COMMON,
        "vocab_size": 37,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 24,
        "hidden_act": "gelu",
    },
    "gelu_new_three_layers": {
        **_COMMON,
        "vocab_size": 23,
        "hidden_size": 12,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 20,
        "hidden_act": "gelu_new",
        "type_vocab_size": 3,
    },
    "relu_untied": {
        **_COMMON,
        "vocab_size": 29,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
        "hidden_act": "relu",
        "layer_norm_eps": 1e-5,
        "tie_word_embeddings": False,
    },
}
# Output layers, and how many scores each has.
HEADS = {
    "BertForSequenceClassification": 3,
    "BertForTokenClassification": 4,
    "BertForQuestionAnswering": 2,
    "BertForMultipleChoice": 1,
}
LENGTHS = (12, 9, 5)
PREDICTIONS = 3


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform numbers in [-1, 1): splitmix64 of the index, keyed by the name."""
    with np.errstate(over="ignore"):
        x = np.arange(1, math.prod(shape) + 1, dtype=np.uint64)
        x = x * np.uint64(0x9E3779B97F4A7C15) + np.uint64(zlib.crc32(name.encode()))
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return (x >> np.uint64(40)).astype(np.float64).reshape(shape) / 2**23 - 1


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The weight that Hugging Face calls `name`: exact in fp32."""
    around = 1.0 if name.endswith("LayerNorm.weight") else 0.0
    return (around + 0.3 * uniform(name, shape)).astype(np.float32)


def batch(case: str) -> dict[str, np.ndarray]:
    """A padded batch: ids never 0 but in padding, two segments or more, masked positions."""
    config = CASES[case]
    rows, length = len(LENGTHS), max(LENGTHS)
    real = np.arange(length)[None] < np.array(LENGTHS)[:, None]
    draw = (uniform(f"{case} ids", (rows, length)) + 1) / 2
    ids = 1 + (draw * (config["vocab_size"] - 1)).astype(np.int32)
    segments = config.get("type_vocab_size", 2)
    positions = np.stack([1 + np.arange(PREDICTIONS) * (n - 1) // PREDICTIONS for n in LENGTHS])
    labels = (uniform(f"{case} labels", positions.shape) + 1) / 2 * config["vocab_size"]
    return {
        "input_ids": np.where(real, ids, 0),
        "token_type_ids": np.where(real, np.arange(length) * segments // length, 0),
        "attention_mask": real.astype(np.int32),
        "masked_positions": positions.astype(np.int32),
        "masked_labels": labels.astype(np.int32),
        "next_labels": np.array([0, 1, 1], np.int32),
    }


def our_path(name: str) -> tuple[str, ...]:
    """Where our parameters hold what Hugging Face calls `name`."""
    table = {
        "bert.embeddings.word_embeddings.weight": "bert/embeddings/token/table",
        "bert.embeddings.token_type_embeddings.weight": "bert/embeddings/segment/table",
        "bert.embeddings.position_embeddings.weight": "bert/embeddings/position/table",
        "cls.predictions.decoder.weight": "mlm/decoder",
        "cls.predictions.bias": "mlm/bias",
        "cls.predictions.decoder.bias": "mlm/bias",  # the same one when tied
    }
    if name in table:
        return tuple(table[name].split("/"))
    parts = name
    for theirs, ours in (
        ("embeddings.LayerNorm", "embeddings.norm"),
        ("encoder.layer.", "encoder.layers."),
        ("attention.self.", "attention."),
        ("attention.output.LayerNorm", "attention_norm"),
        ("attention.output.dense", "attention.output"),
        ("intermediate.dense", "feed_forward.up"),
        ("output.LayerNorm", "feed_forward_norm"),
        ("output.dense", "feed_forward.down"),
        ("cls.predictions.transform.dense", "mlm.transform"),
        ("cls.predictions.transform.LayerNorm", "mlm.norm"),
        ("cls.seq_relationship", "nsp.dense"),
    ):
        # The attention's output has just been given the name that the layer's output bears.
        if theirs == "output.dense" and "attention.output" in parts:
            continue
        parts = parts.replace(theirs, ours)
    *path, leaf = parts.split(".")
    if leaf == "weight":
        leaf = "scale" if path[-1].endswith("norm") else "kernel"
    return (*path, leaf)
