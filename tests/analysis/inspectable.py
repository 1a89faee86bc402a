"""A small checkpoint whose neighbours are known, and whose pieces could do a page harm."""

import jax
import numpy as np
from flax import nnx

from bert_jax.config import BertConfig
from bert_jax.convert.contents import Pretrained
from bert_jax.model.bert import Bert
from bert_jax.parameters import split_model
from bert_jax.text.tokenizer import SPECIAL_PIECES, Tokenizer

SCRIPT = "<script>document.body.dataset.attacked='yes'</script>"
ANIMALS = ["cat", "dog", "cow", "hen", "pig"]
COLOURS = ["red", "green", "blue", "grey", "pink"]
PIECES = [
    *SPECIAL_PIECES, *ANIMALS, *COLOURS, SCRIPT, "<b>bold</b>", "&amp;", '"quoted"', "##s", "##ing",
    *"abcdefghijklmnopqrstuvwxyz<>/='&;.",
]  # fmt: skip


def checkpoint(seed: int, positions: int = 32) -> Pretrained:
    """A model whose animals lie together, and whose colours do."""
    tokenizer = Tokenizer(PIECES)
    config = BertConfig(
        vocab_size=len(PIECES), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=positions,
    )  # fmt: skip
    params = jax.tree.map(np.array, split_model(Bert(config, nnx.Rngs(seed)))[1])
    table = params["embeddings"]["token"]["table"]
    for number, group in enumerate((ANIMALS, COLOURS)):
        for piece in group:
            table[PIECES.index(piece), number] += 1
    return Pretrained(config, {"bert": params}, "BertModel", tokenizer=tokenizer)


def audit() -> dict[str, np.ndarray]:
    """What the audit of a run of 60 steps leaves: row i was input in i of them, and moved i / 10.

    Every row changed in 60, as with a tied decoder; only its input steps are of the first class.
    """
    rows = np.arange(len(PIECES))
    spent = np.stack([rows, 60 - rows, 0 * rows, 0 * rows, 0 * rows])
    return {"steps": np.int32(60), "spent": spent, "changed": spent, "drift": rows / 10}
