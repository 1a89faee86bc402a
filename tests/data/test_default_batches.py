"""The batches of given settings are the same bits as those of earlier versions."""

import hashlib

import numpy as np
import pytest

from bert_jax.data.loader import Batches, HeldoutBatches, Phase, RowSettings
from bert_jax.data.masking import Masking
from tests.data.synthetic import SmallVocabulary, random_documents

PHASES = (Phase(64, 0.75), Phase(128, 0.25))


def digest(batches) -> str:
    hashed = hashlib.sha256()
    for batch in batches:
        for name, array in batch.items():
            hashed.update(f"{name} {array.dtype} {array.shape}".encode())
            hashed.update(np.ascontiguousarray(array).tobytes())
    return hashed.hexdigest()[:16]


@pytest.mark.parametrize(
    ("settings", "train", "heldout"),
    [
        (RowSettings(16), "26eace2654c0d166", "b89a04d88e451606"),
        (RowSettings(16, max_instances=4), "1e396526dc9d8007", "bbd5a455d5ec84bd"),
        (RowSettings(16, masking=Masking(whole_word=True)), "058fdd2b17fa9ffb", "40a11d325285a52d"),
        (
            RowSettings(16, masking=Masking(mask_fraction=0.5, random_fraction=0.5)),
            "7e5aa8cba6303839",
            "291f651ec8166bfc",
        ),
    ],
    ids=["default", "packed", "whole words", "shares"],
)
def test_batches_are_the_bits_they_were(settings, train, heldout):
    documents = random_documents(40, 8)
    vocabulary = SmallVocabulary(300)
    batches = Batches(documents, vocabulary, seed=5, steps=40, phases=PHASES, settings=settings)
    assert digest(batches) == train
    held_out = HeldoutBatches(documents, vocabulary, length=128, settings=settings)
    assert digest(held_out) == heldout
