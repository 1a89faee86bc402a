import jax
import numpy as np
import pytest
from flax import nnx

from bert_jax.analysis.ablations import PARTS, VARIANTS, real_ids, remove, shuffle
from bert_jax.model.bert import BertForPreTraining
from bert_jax.parameters import split_model
from bert_jax.training.freezing import split_frozen
from tests.training.examples import batches, tiny_config


def test_nine_variants_and_the_model_as_it_is():
    assert len({variant.name for variant in VARIANTS}) == 10
    batch, model = batches()[0], BertForPreTraining(tiny_config(), nnx.Rngs(0))
    intact, trained = VARIANTS[0], split_model(model)[1]
    assert intact.change_batch(batch, 0, 0) is batch
    assert intact.frozen_paths == ()
    for variant in VARIANTS:
        if variant.frozen:
            _, kept = split_frozen(trained, variant.frozen_paths)
            assert len(jax.tree.leaves(kept)) == 1


@pytest.mark.parametrize("part", PARTS)
def test_a_removed_part_adds_nothing_and_the_others_stay(part):
    batch, model = batches()[0], BertForPreTraining(tiny_config(), nnx.Rngs(0))

    def parts_of(model):
        arguments = (batch["input_ids"], batch["token_type_ids"], None, batch["position_ids"])
        return model.bert(*arguments, output_embeddings=True).embeddings

    before = parts_of(model)
    shapes = jax.tree.map(np.shape, split_model(model)[1])
    remove(part)(model)
    after = parts_of(model)
    for name in PARTS:
        expected = np.asarray(getattr(before, name))
        assert np.any(expected)
        np.testing.assert_array_equal(getattr(after, name), expected * (name != part))
    assert jax.tree.map(np.shape, split_model(model)[1]) == shapes


@pytest.mark.parametrize("part", PARTS)
def test_shuffling_moves_ids_of_real_tokens_within_their_row_only(part):
    batch = batches()[3]
    changed = shuffle(part)(batch, 7, 3)
    assert [name for name in batch if np.any(batch[name] != changed[name])] == [
        name for name in batch if batch[name] is real_ids(batch, part)
    ]
    before, after = real_ids(batch, part), real_ids(changed, part)
    real = batch["instance_ids"] > 0
    np.testing.assert_array_equal(after[~real], before[~real])
    for row, there in enumerate(real):
        assert sorted(after[row, there]) == sorted(before[row, there])
    np.testing.assert_array_equal(real_ids(shuffle(part)(batch, 7, 3), part), after)
    assert np.any(real_ids(shuffle(part)(batch, 7, 4), part) != after)
