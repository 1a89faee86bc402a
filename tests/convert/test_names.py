"""The table of conversion is complete, one to one, and says the right shapes."""

import pytest
from flax.traverse_util import flatten_dict
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.convert.names import WEIGHTS, find, their_name
from tests.convert import models

SIZES = {"D": 8, "F": 12, "V": 11, "S": 2, "L": 16, "2": 2, "C": 3}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_every_parameter_has_a_row_that_tells_its_shape(architecture, tied):
    params = models.pretrained(architecture, tie_word_embeddings=tied).params
    for ours, leaf in flatten_dict(params, sep="/").items():
        row, theirs = their_name(ours, "huggingface")
        assert find(theirs, "huggingface") == (row, ours)
        if (architecture, ours) == ("BertForMultipleChoice", "classifier/kernel"):
            assert leaf.shape == (8, 1)
        elif architecture != "BertForMultipleChoice" or not ours.startswith("classifier"):
            assert leaf.shape == tuple(SIZES[letter] for letter in row.shape), ours


def test_names_are_one_to_one():
    for scheme in ("huggingface", "google", "flax"):
        names = [row.name(scheme) for row in WEIGHTS if row.name(scheme) is not None]
        assert len(names) == len(set(names))
    assert len(WEIGHTS) == len({row.ours for row in WEIGHTS}) == 5 + 16 + 2 + 4 + 2 + 6


@given(
    row=st.sampled_from(WEIGHTS),
    layer=st.integers(0, 999),
    scheme=st.sampled_from(["huggingface", "google", "flax"]),
    data=st.data(),
)
def test_a_name_leads_there_and_back(row, layer, scheme, data):
    ours = row.ours.replace("{i}", str(layer))
    same, theirs = their_name(ours, scheme)
    assert same is row
    if theirs is None:
        assert ours == "mlm/decoder"
        return
    if scheme == "huggingface":  # in the ways that files vary
        bare = theirs.startswith("bert.") and data.draw(st.booleans())
        theirs = theirs.removeprefix("bert.") if bare else theirs
        if "LayerNorm" in theirs and data.draw(st.booleans()):
            theirs = theirs.replace("m.weight", "m.gamma").replace("m.bias", "m.beta")
        theirs = data.draw(st.sampled_from(["", "module.", "_orig_mod.module."])) + theirs
    if scheme == "flax":
        bare = theirs.startswith("bert/") and data.draw(st.booleans())
        theirs = theirs.removeprefix("bert/") if bare else theirs
    assert find(theirs, scheme) == (row, ours)


@pytest.mark.parametrize(
    ("huggingface", "google", "ours"),
    [
        (
            "bert.encoder.layer.3.attention.output.LayerNorm.weight",
            "bert/encoder/layer_3/attention/output/LayerNorm/gamma",
            "bert/encoder/layers/3/attention_norm/scale",
        ),
        (
            "bert.encoder.layer.11.attention.self.query.weight",
            "bert/encoder/layer_11/attention/self/query/kernel",
            "bert/encoder/layers/11/attention/query/kernel",
        ),
        (
            "bert.encoder.layer.0.output.dense.weight",
            "bert/encoder/layer_0/output/dense/kernel",
            "bert/encoder/layers/0/feed_forward/down/kernel",
        ),
        ("cls.predictions.bias", "cls/predictions/output_bias", "mlm/bias"),
        ("cls.seq_relationship.weight", "cls/seq_relationship/output_weights", "nsp/dense/kernel"),
        ("classifier.bias", "output_bias", "classifier/bias"),
        ("qa_outputs.weight", "cls/squad/output_weights", "qa_outputs/kernel"),
    ],
)
def test_names_as_published(huggingface, google, ours):
    assert their_name(ours, "huggingface")[1] == huggingface
    assert their_name(ours, "google")[1] == google


@pytest.mark.parametrize(
    "name",
    [
        "encoder.layer.0.crossattention.self.query.weight",
        "cls.species.weight",
        "",
        "0",
        "bert",
    ],
)
def test_what_is_no_part_of_bert_is_not_found(name):
    for scheme in ("huggingface", "google", "flax"):
        assert find(name, scheme) is None
