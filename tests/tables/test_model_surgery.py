import jax
import numpy as np
import pytest
from flax import nnx

from bert_jax.errors import UserError
from bert_jax.model.bert import BertForPreTraining
from bert_jax.parameters import abstract_params, merge_model, split_model
from bert_jax.tables.embedding_tables import EmbeddingTables
from bert_jax.tables.model_surgery import (
    ModelParts,
    move_model_vocabulary,
    resize_model_positions,
    resize_model_segments,
)
from bert_jax.tables.vocabulary_surgery import NewRows, move_vocabulary
from tests.tables.examples import vocabulary
from tests.training.examples import tiny_config

OLD = vocabulary([f"w{i}" for i in range(50)] + ["##a", "##b"])
NEW = vocabulary(["w7ab", *(f"w{i}" for i in reversed(range(40))), "ж"])


def model(tied) -> ModelParts:
    """A model whose arrays, biases too, are all random."""
    config = tiny_config(vocab_size=OLD.vocab_size, tie_word_embeddings=tied)
    _, shapes = abstract_params(lambda: BertForPreTraining(config, nnx.Rngs(0)))
    draw = np.random.default_rng(0)
    params = jax.tree.map(lambda x: draw.normal(size=x.shape).astype(np.float32), shapes)
    return ModelParts(config, params, OLD)


@pytest.mark.parametrize("tied", [True, False])
def test_what_has_a_row_a_piece_follows_and_nothing_else_changes(tied):
    before = model(tied)
    moved = move_model_vocabulary(before, NEW).model
    embeddings = EmbeddingTables.from_params(before.params["bert"]["embeddings"], OLD)
    np.testing.assert_array_equal(
        moved.params["bert"]["embeddings"]["token"]["table"],
        move_vocabulary(embeddings, NEW).tables.token,
    )
    bias, old_bias = moved.params["mlm"]["bias"], before.params["mlm"]["bias"]
    assert bias[NEW.id_of("w3")] == old_bias[OLD.id_of("w3")]
    spelled = [OLD.id_of(piece) for piece in ("w7", "##a", "##b")]
    np.testing.assert_allclose(bias[5], old_bias[spelled].mean(), rtol=1e-6)
    assert ("decoder" in moved.params["mlm"]) is not tied
    if not tied:
        decoder, old = moved.params["mlm"]["decoder"], before.params["mlm"]["decoder"]
        np.testing.assert_array_equal(decoder[NEW.id_of("w3")], old[OLD.id_of("w3")])
        np.testing.assert_allclose(decoder[5], old[spelled].mean(axis=0), rtol=1e-6)
    assert moved.config == before.config.replace(vocab_size=NEW.vocab_size)
    assert moved.params["bert"]["encoder"] is before.params["bert"]["encoder"]
    assert moved.params["nsp"] is before.params["nsp"]
    assert before.params["mlm"]["bias"] is old_bias and len(old_bias) == OLD.vocab_size


def test_a_model_scores_shared_pieces_as_before():
    """Through the whole model: the same text in either vocabulary, the logits of shared pieces."""
    before = model(tied=True)
    after = move_model_vocabulary(before, NEW, NewRows(fallback="draw")).model

    def logits(parts: ModelParts):
        definition, _ = split_model(BertForPreTraining(parts.config, nnx.Rngs(0)))
        assert parts.tokenizer is not None
        encoding = parts.tokenizer.encode("w1 w2 w39", "w4")
        run = merge_model(definition, parts.params)
        return np.asarray(run([encoding.ids], [encoding.type_ids]).mlm_logits[0])

    old, new = logits(before), logits(after)
    shared = [f"w{i}" for i in range(40)] + ["[MASK]"]
    np.testing.assert_allclose(
        new[:, [NEW.id_of(p) for p in shared]], old[:, [OLD.id_of(p) for p in shared]], rtol=2e-4,
        atol=1e-4,
    )  # fmt: skip


def test_positions_and_segments_follow_in_configuration_and_parameters():
    before = model(tied=True)
    after = resize_model_segments(resize_model_positions(before, 48, "interpolate"), 3, copy_of=1)
    assert after.config == before.config.replace(max_position_embeddings=48, type_vocab_size=3)
    embeddings = after.params["bert"]["embeddings"]
    assert embeddings["position"]["table"].shape == (48, 16)
    np.testing.assert_array_equal(
        embeddings["segment"]["table"][2],
        before.params["bert"]["embeddings"]["segment"]["table"][1],
    )
    _, shapes = abstract_params(lambda: BertForPreTraining(after.config, nnx.Rngs(0)))
    assert jax.tree.map(np.shape, after.params) == jax.tree.map(lambda x: x.shape, shapes)


def test_a_model_without_a_head_moves_too_and_one_without_a_vocabulary_is_refused():
    whole = model(tied=True)
    bare = ModelParts(whole.config, {"bert": whole.params["bert"]}, OLD)
    assert move_model_vocabulary(bare, NEW).model.params.keys() == {"bert"}
    moved = move_model_vocabulary(whole, vocabulary(reversed(OLD.pieces[5:])))
    assert not moved.report.dropped
    with pytest.raises(UserError, match="got a model without a vocabulary"):
        move_model_vocabulary(ModelParts(whole.config, whole.params, None), NEW)
