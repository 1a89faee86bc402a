"""Make `flax.npz`: files that FlaxBert of transformers 4 wrote, and what it computed.

    PEERS/bin/python -m tests.golden.make_flax      (transformers 4.55.4, jax 0.10.2, flax 0.12.8)

Small enough to keep: the bytes of every file, `CASE/NAME`, and the outputs for `INPUT_IDS`.
"""

import tempfile
from pathlib import Path

import jax
import numpy as np
import transformers

INPUT_IDS = [[2, 5, 7, 6, 3], [2, 9, 3, 10, 3]]


def main() -> None:
    """Draw two models, every number of them another, and save what they are and give."""
    sizes = {
        "vocab_size": 24,
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 12,
        "max_position_embeddings": 16,
    }
    content, draw = {}, np.random.default_rng(0)
    for case, cls, size, changes in (
        ("pretraining", transformers.FlaxBertForPreTraining, "5GB", {}),
        ("untied", transformers.FlaxBertForMaskedLM, "2KB", {"tie_word_embeddings": False}),
    ):
        model = cls(transformers.BertConfig(**sizes, **changes))
        model.params = jax.tree.map(
            lambda leaf: leaf + draw.normal(0, 0.1, leaf.shape).astype("f4"), model.params
        )
        for name, value in model(np.array(INPUT_IDS)).items():
            content[f"{case} {name}"] = np.asarray(value)
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder, max_shard_size=size)
            for file in sorted(Path(folder).iterdir()):
                content[f"{case}/{file.name}"] = np.frombuffer(file.read_bytes(), np.uint8)
    np.savez_compressed(Path(__file__).with_name("flax.npz"), **content)


if __name__ == "__main__":
    main()
