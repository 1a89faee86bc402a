import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from bert_jax.convert.ours import save_ours
from bert_jax.convert.sentence_encoders import DenseLayer, SentenceEncoder
from bert_jax.errors import UserError
from bert_jax.inference.feature_files import write_features
from bert_jax.inference.features import POOLING_NAMES, FeatureExtractor
from bert_jax.parameters import with_cast_products
from bert_jax.pooling import MEAN
from tests.convert import models

WORDS = ["un", "read", "reading", "é", "你", "unreadable", "?"]
PRETRAINED = models.pretrained("BertModel", models.tokenizer(), max_position_embeddings=40)
MODEL = models.model("BertModel", max_position_embeddings=40)
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), max_size=7)


def alone(text, pooling, layer):
    """The same vector from the model itself, text by text and without padding."""
    encoding = PRETRAINED.tokenizer.encode(text)
    output = MODEL([encoding.ids], [encoding.type_ids], output_hidden_states=True)
    hidden = np.asarray(output.hidden_states[layer])[0]
    places = np.arange(1, len(hidden) + 1)[:, None]
    return {
        "auto": hidden,  # it does not say that it is a sentence encoder
        "tokens": hidden,
        "cls": hidden[0],
        "max": hidden.max(0),
        "mean": hidden.mean(0),
        "mean_sqrt_len": hidden.sum(0) / np.sqrt(len(hidden)),
        "weighted_mean": (places * hidden).sum(0) / places.sum(),
        "last": hidden[-1],
        "pooler": np.asarray(output.pooler_output)[0],
    }[pooling]


@pytest.mark.parametrize("pooling", POOLING_NAMES)
def test_batched_vectors_are_those_of_a_text_alone(pooling):
    layers = (2,) if pooling == "pooler" else (0, 1, 2)
    extractor = FeatureExtractor(PRETRAINED, layers, pooling, batch_size=3)

    @settings(max_examples=15, deadline=None)
    @given(TEXTS)
    def check(texts):
        found = list(extractor.extract(texts))
        assert len(found) == len(texts)
        for text, features in zip(texts, found, strict=True):
            assert features.encoding == PRETRAINED.tokenizer.encode(text)
            for layer in layers:
                np.testing.assert_allclose(
                    features.vectors[layer], alone(text, pooling, layer), rtol=1e-5, atol=1e-5
                )

    check()


def test_layers_count_from_both_ends():
    assert FeatureExtractor(PRETRAINED, (-1, 0, -3, 2)).layers == (2, 0)
    for layer in (3, -4):
        with pytest.raises(UserError, match=f"got layer {layer}; expected 0"):
            FeatureExtractor(PRETRAINED, (layer,))


def test_long_texts_are_cut():
    extractor = FeatureExtractor(PRETRAINED, max_length=5)
    (features,) = extractor.extract(["read " * 30])
    assert features.encoding.tokens == ["[CLS]", "read", "read", "read", "[SEP]"]
    assert features.vectors[2].shape == (5, 8)
    with pytest.raises(UserError, match="got max_length=41; expected 2 to 40"):
        FeatureExtractor(PRETRAINED, max_length=41)


def test_what_the_pooler_cannot_give_is_said():
    with pytest.raises(UserError, match="expected the last layer, 2, alone"):
        FeatureExtractor(PRETRAINED, (0, 2), "pooler")
    tagging = models.pretrained("BertForTokenClassification", models.tokenizer())
    with pytest.raises(UserError, match="not have; expected auto, tokens, cls, max, mean, mean_sq"):
        FeatureExtractor(tagging, (2,), "pooler")
    with pytest.raises(UserError, match="got a checkpoint without a vocabulary"):
        FeatureExtractor(models.pretrained("BertModel"))


def test_a_sentence_encoder_is_followed_unless_something_else_is_asked_for():
    said = SentenceEncoder((MEAN,), max_length=4, normalize=True, prompts={"q": "你 "})
    encoder = dataclasses.replace(PRETRAINED, sentences=said)
    (features,) = FeatureExtractor(encoder)(["un read reading 你"])
    assert features.encoding.tokens == ["[CLS]", "un", "read", "[SEP]"]
    mean = alone("un read", "mean", 2)
    np.testing.assert_allclose(features.vectors[2], mean / np.linalg.norm(mean), atol=1e-5)
    for layer, of_layer in FeatureExtractor(encoder, (0, 1))("un read")[0].vectors.items():
        mean = alone("un read", "mean", layer)
        np.testing.assert_allclose(of_layer, mean / np.linalg.norm(mean), atol=1e-5)
    text = "un read reading 你"
    (features,) = FeatureExtractor(encoder, pooling="cls")([text])
    np.testing.assert_allclose(features.vectors[2], alone(text, "cls", 2), atol=1e-5)
    prompted = dataclasses.replace(encoder, sentences=dataclasses.replace(said, default_prompt="q"))
    assert FeatureExtractor(prompted)("un")[0].encoding.tokens == ["[CLS]", "你", "un", "[SEP]"]
    (features,) = FeatureExtractor(prompted, max_length=5)("un " * 9)
    assert features.encoding.tokens == ["[CLS]", "你", "un", "un", "[SEP]"]
    rows = [FeatureExtractor(model).a_row_a_piece for model in (encoder, PRETRAINED)]
    assert rows == [False, True]


def test_what_a_sentence_encoder_cannot_give_is_said():
    layer = DenseLayer(np.eye(8, dtype=np.float32), None, "torch.nn.modules.linear.Identity")
    dense = dataclasses.replace(PRETRAINED, sentences=SentenceEncoder(layers=(layer,)))
    with pytest.raises(UserError, match="a Dense layer over layers 0, 2; expected the last layer"):
        FeatureExtractor(dense, (0, 2))
    unknown = SentenceEncoder(not_obeyed=("the module LSTM",))
    with pytest.raises(UserError, match="with the module LSTM, which bert_jax does not know"):
        FeatureExtractor(dataclasses.replace(PRETRAINED, sentences=unknown))
    with pytest.raises(UserError, match="got 'means', which `pooling` lacks; expected mean"):
        FeatureExtractor(PRETRAINED, pooling="means")


def read(path):
    if path.suffix == ".npz":
        columns = dict(np.load(path))
        if "id" in columns:
            columns["piece"] = columns.pop("pieces")[columns["id"]]
        return columns
    table = parquet.read_table(path)
    return {
        name: np.stack(table[name].to_pylist())
        if name.startswith("layer")
        else np.array(table[name])
        for name in table.column_names
    }


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_files_hold_the_rows_in_order(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr("bert_jax.inference.feature_files._ROWS", 4)  # several chunks
    texts = ["un read", "", "reading 你"]
    pieces = PRETRAINED.tokenizer.pieces
    features = list(FeatureExtractor(PRETRAINED, (0, 2)).extract(texts))
    path = tmp_path / f"out{suffix}"
    assert write_features(path, iter(features), (0, 2), pieces) == 11
    columns = read(path)
    assert columns["text"].tolist() == [0] * 4 + [1] * 2 + [2] * 5
    assert columns["position"].tolist() == [0, 1, 2, 3, 0, 1, 0, 1, 2, 3, 4]
    assert columns["piece"].tolist() == (
        ["[CLS]", "un", "read", "[SEP]", "[CLS]", "[SEP]", "[CLS]", "read", "##ing", "你", "[SEP]"]
    )
    for layer in (0, 2):
        want = np.concatenate([of_text.vectors[layer] for of_text in features])
        np.testing.assert_array_equal(columns[f"layer_{layer}"], want)
        assert columns[f"layer_{layer}"].dtype == np.float32 or suffix == ".parquet"

    pooled = list(FeatureExtractor(PRETRAINED, (1,), "cls").extract(texts))
    assert write_features(path, iter(pooled), (1,), None) == 3
    columns = read(path)
    assert set(columns) == {"text", "layer_1"} and columns["layer_1"].shape == (3, 8)


def test_what_fails_halfway_leaves_no_file(tmp_path):
    def broken():
        yield from FeatureExtractor(PRETRAINED, (1,), "cls").extract(["un"])
        raise UserError("the second line is not valid UTF-8")

    for suffix in (".npz", ".parquet"):
        with pytest.raises(UserError):
            write_features(tmp_path / f"out{suffix}", broken(), (1,), None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("positions", [20, 24, 100])
def test_texts_as_long_as_the_model_has_positions(positions):
    changes = {"max_position_embeddings": positions}
    pretrained = models.pretrained("BertModel", models.tokenizer(), **changes)
    model = models.model("BertModel", **changes)
    texts = ["un " * (positions - 2), "un", "read " * 200]
    for text, features in zip(texts, FeatureExtractor(pretrained)(texts), strict=True):
        ids = pretrained.tokenizer.encode(text, max_length=positions).ids
        want = np.asarray(model([ids]).last_hidden_state[0])
        np.testing.assert_allclose(features.vectors[2], want, rtol=1e-5, atol=1e-5)
    assert len(features.encoding.ids) == positions


def test_from_a_workdir_as_it_is_called(tmp_path):
    save_ours(PRETRAINED, tmp_path / "checkpoints" / "3")
    extractor = FeatureExtractor.from_pretrained(tmp_path, pooling="mean", batch_size=2)
    texts = ["un read", "", "reading 你"]
    found = extractor(texts)
    np.testing.assert_allclose(found[2].vectors[2], alone(texts[2], "mean", 2), atol=1e-5)
    np.testing.assert_array_equal(extractor("un read")[0].vectors[2].shape, (8,))


def test_few_shapes_are_compiled_and_weights_are_cast_once():
    extractor = FeatureExtractor(PRETRAINED, pooling="mean", dtype="bfloat16")
    texts = ["un " * (i % 30) for i in range(100)]
    extractor(texts)
    assert extractor.compiled_shapes == 1
    found = extractor(texts[:2])[1].vectors[2]
    assert extractor.compiled_shapes == 2  # and not more for other texts
    np.testing.assert_allclose(found, alone(texts[1], "mean", 2), atol=0.05)
    cast = with_cast_products(PRETRAINED.params, jnp.bfloat16)["bert"]
    query = cast["encoder"]["layers"]["0"]["attention"]["query"]
    assert (query["kernel"].dtype, query["bias"].dtype) == (jnp.bfloat16, np.float32)
    assert cast["pooler"]["dense"]["kernel"].dtype == np.float32
