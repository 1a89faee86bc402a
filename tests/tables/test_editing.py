"""One edit gives the same tables alone and in a model."""

import numpy as np

from bert_jax.tables.editing import Edit
from bert_jax.tables.embedding_tables import EmbeddingTables
from bert_jax.text.tokenizer import Tokenizer
from tests.convert import models
from tests.tables.examples import assert_same_tables

BEFORE = models.pretrained("BertForPreTraining", models.tokenizer())


def tables_of(pretrained):
    return EmbeddingTables.from_params(
        pretrained.params["bert"]["embeddings"], pretrained.tokenizer
    )


def test_an_edit_of_nothing_changes_nothing():
    model, report = Edit().of_model(BEFORE)
    assert report is None and model.config == BEFORE.config
    models.assert_same_params(model.params, BEFORE.params)
    tables, report = Edit().of_tables(tables_of(BEFORE))
    assert report is None
    assert_same_tables(tables, tables_of(BEFORE))


def test_tables_alone_become_what_they_become_in_a_model():
    vocabulary = Tokenizer([*models.PIECES, "readable"])
    edit = Edit(vocabulary, positions=20, position_rule="interpolate", segments=3, copy_segment=1)
    model, of_model = edit.of_model(BEFORE)
    tables, of_tables = edit.of_tables(tables_of(BEFORE))
    assert_same_tables(tables_of(model), tables)
    assert of_model.to_json() == of_tables.to_json()
    assert tables.token.shape == (12, 8) and model.params["mlm"]["bias"].shape == (12,)
    assert (model.config.vocab_size, model.config.max_position_embeddings) == (12, 20)
    assert model.config.type_vocab_size == 3
    np.testing.assert_array_equal(tables.segment[2], tables_of(BEFORE).segment[1])
