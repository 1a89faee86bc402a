"""A tiny model, batches for it, and the meshes to train it on, that the training tests share."""

import itertools
import math

import numpy as np

from bert_jax import BertConfig
from bert_jax.data.documents import Documents
from bert_jax.data.loader import Batches, Phase, RowSettings
from bert_jax.training.sharding import AXES

PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(91)))

# Every way to cut 2, 4 or 8 devices into data, fsdp and tensor.
MESHES = [
    dict(zip(AXES[1:], sizes, strict=True))
    for sizes in itertools.product((1, 2, 4, 8), repeat=3)
    if math.prod(sizes) in (2, 4, 8)
]
# One piece more than the loader draws from: no mesh can split 97 rows evenly without padding.
UNEVEN_VOCABULARY = len(PIECES) + 1


class Pieces:
    """The vocabulary above, as the loader wants to see one."""

    vocab_size = len(PIECES)
    pad_id, unk_id, cls_id, sep_id, mask_id = range(5)
    special_ids = tuple(range(5))
    is_continuation = np.zeros(len(PIECES), bool)


def tiny_config(**changes) -> BertConfig:
    """One layer of width 16: compiles fast, has every part."""
    sizes = {
        "vocab_size": len(PIECES),
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "intermediate_size": 32,
        "max_position_embeddings": 32,
    }
    return BertConfig(**(sizes | changes))


def documents(count: int = 12, seed: int = 0) -> Documents:
    """Documents of 6 sentences of 4 to 9 pieces; each document has its own favourite pieces."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(4, 10, size=(count, 6))
    pieces = np.concatenate(
        [
            5 + (draw.integers(0, 12, size=length) + 7 * document) % 91
            for document, sentences in enumerate(lengths)
            for length in sentences
        ]
    )
    return Documents(
        pieces=pieces.astype(np.uint16),
        sentence_starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        document_starts=np.arange(0, 6 * count + 1, 6, dtype=np.int64),
    )


def batches(batch_size: int = 8, max_instances: int = 1, seed: int = 0) -> Batches:
    """Training batches of length 32 over `documents()`."""
    return Batches(
        documents(),
        Pieces(),
        seed=seed,
        steps=100,
        phases=[Phase(32, 1.0)],
        settings=RowSettings(batch_size, max_instances=max_instances),
    )
