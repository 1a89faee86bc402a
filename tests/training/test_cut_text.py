"""A run on text that is already split: its splitting goes where its model goes."""

import numpy as np
import pytest

from bert_jax import MaskFiller, pretrain
from bert_jax.errors import UserError

ATOMS = r"\[[^\]]+]|Br?|Cl?|[NOSnosc]|[()=#]|\d|>>"


def test_a_run_brings_its_splitting_along(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["".join(rng.choice(["C", "Cl", "Br", "(", ")"], 12)) for _ in range(200)]
    (tmp_path / "molecules.txt").write_text("\n\n".join(lines))
    result = pretrain(
        str(tmp_path / "molecules.txt"), tmp_path / "run", splitting=ATOMS, vocab_size=20, steps=1,
        batch_size=8, phases="16:1.0", eval_batches=1,
    )  # fmt: skip
    assert set(result.corpus.tokenizer.pieces[5:]) == {"C", "Cl", "Br", "(", ")"}
    (fills,) = MaskFiller.from_pretrained(tmp_path / "run")(["Cl[MASK]Br"])
    assert len(fills.pieces) == 1
    with pytest.raises(UserError, match=r"got splitting='spaces' for .*split by"):
        MaskFiller.from_pretrained(tmp_path / "run", splitting="spaces")
