"""A tiny checkpoint as Hugging Face writes it, and small data, for tests of the experiments."""

import random
from pathlib import Path

from flax import nnx

from bert_jax import Bert, BertConfig
from tests.text.vocabulary import small_tokenizer


def write_checkpoint(folder: Path) -> str:
    """A model of one layer, which compiles in a moment."""
    tokenizer = small_tokenizer()
    config = BertConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=16, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=32, max_position_embeddings=64,
    )  # fmt: skip
    Bert(config, nnx.Rngs(0)).save_pretrained(folder / "model", tokenizer)
    return str(folder / "model")


def write_texts(folder: Path) -> None:
    """Texts that say which label they have, in three parts and some broken ones."""
    draw = random.Random(0)
    for part, count in (("train", 96), ("dev", 24), ("test", 24)):
        lines = ["text\tlabel"]
        for _ in range(count):
            animal = draw.choice(["cats", "dogs"])
            words = [*draw.choices(["the", "how", "are", "fine", "left"], k=draw.randint(1, 5))]
            lines.append(f"{' '.join(words)} {animal}\t{animal}")
        (folder / f"{part}.tsv").write_text("\n".join(lines) + "\n")
    (folder / "broken.tsv").write_text("text\tlabel\nyes\tcats\nyes\n")
    (folder / "empty.tsv").write_text("text\tlabel\nyes\tcats\nyes\t \n")
    (folder / "other.tsv").write_text("text\tlabel\nyes\tcats\nno\tcows\n")
    (folder / "one.tsv").write_text("text\tlabel\nyes\tcats\nno\tcats\n")
