"""What the files of sentence-transformers say, in all their forms, read and written again."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.convert.huggingface import save_huggingface
from bert_jax.convert.ours import save_ours
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.convert.sentence_encoders import (
    DenseLayer,
    SentenceEncoder,
    read_sentence_encoder,
    write_sentence_encoder,
)
from bert_jax.errors import UserError
from bert_jax.pooling import CLS, LAST, MAX, MEAN, MEAN_SQRT_LEN, POOLINGS, unit_length
from tests.convert import models


def written(folder, modules, pooling=None, **others):
    """A directory with these kinds of modules behind the Transformer."""
    names = ["Transformer", *modules]
    listed = [
        {"idx": i, "name": str(i), "path": f"{i}_{name}" if i else "", "type": f"x.models.{name}"}
        for i, name in enumerate(names)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling or {}))
    for name, content in others.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return read_sentence_encoder(folder, folder)


@pytest.mark.parametrize(
    ("content", "poolings"),
    [
        ({}, (MEAN,)),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, (CLS,)),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, (MEAN_SQRT_LEN,)),
        ({"pooling_mode_lasttoken": True, "pooling_mode_max_tokens": True}, (MAX, LAST)),
        ({"pooling_mode": "cls"}, (CLS,)),  # as they write it since version 6
        ({"pooling_mode": ["mean", "max"]}, (MEAN, MAX)),
    ],
)
def test_pooling_as_they_have_written_it_at_all_times(tmp_path, content, poolings):
    assert written(tmp_path, ["Pooling"], content) == SentenceEncoder(poolings)


def test_length_prompts_and_modules(tmp_path):
    said = written(
        tmp_path, ["Pooling", "Dropout", "Normalize"],
        sentence_bert_config={"max_seq_length": 128, "do_lower_case": False},
        tokenizer_config={"model_max_length": 512},
        config_sentence_transformers={
            "prompts": {"query": "query: ", "document": ""}, "default_prompt_name": "query"
        },
    )  # fmt: skip
    assert said == SentenceEncoder(
        max_length=128, normalize=True, prompts={"query": "query: "}, default_prompt="query"
    )
    assert said.prompt == "query: "
    (tmp_path / "sentence_bert_config.json").write_text("{}")
    assert read_sentence_encoder(tmp_path, tmp_path).max_length == 512
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 1000000000000000019884}')
    assert read_sentence_encoder(tmp_path, tmp_path).max_length is None


@pytest.mark.parametrize(
    ("modules", "pooling", "said"),
    [
        (["Pooling", "LSTM"], {}, "the module LSTM"),
        (["Pooling"], {"pooling_mode": "median"}, "pooling by median"),
        (["Pooling", "Dense"], {}, "a Dense layer without model.safetensors"),
        (["Pooling", "Normalize", "Dense"], {}, "a Dense layer behind Normalize"),
    ],
)
def test_what_is_not_known_here_is_said_and_not_written(tmp_path, modules, pooling, said):
    (tmp_path / "in").mkdir()
    save_huggingface(models.pretrained("BertModel", models.tokenizer()), tmp_path / "in" / "model")
    encoder = written(tmp_path / "in" / "model", modules, pooling)
    assert any(each.startswith(said) for each in encoder.not_obeyed)
    before = load_pretrained(tmp_path / "in" / "model")
    assert any(f"sentence vectors need {said}" in note for note in before.notes)
    save_huggingface(before, tmp_path / "out")
    assert not (tmp_path / "out" / "modules.json").exists()
    assert "no place for the modules" in save_ours(before, tmp_path / "ours")[0]
    assert load_pretrained(tmp_path / "ours").sentences is None


def test_vectors_of_tokens_are_no_sentence_vectors(tmp_path):
    assert written(tmp_path, ["Normalize"]) is None
    (tmp_path / "modules.json").unlink()
    assert read_sentence_encoder(tmp_path, tmp_path) is None
    for content in ("{", '{"a": 1}', "[1]"):
        (tmp_path / "modules.json").write_text(content)
        with pytest.raises(UserError, match=r"modules\.json"):
            read_sentence_encoder(tmp_path, tmp_path)


ENCODERS = st.builds(
    SentenceEncoder,
    poolings=st.lists(st.sampled_from(POOLINGS), min_size=1, unique=True).map(tuple),
    max_length=st.integers(2, 16),
    normalize=st.booleans(),
    prompts=st.just({"query": "un "}),
    default_prompt=st.sampled_from([None, "query"]),
)


@settings(max_examples=50, deadline=None)
@given(ENCODERS)
def test_what_is_written_is_read_again(tmp_path_factory, encoder):
    folder = tmp_path_factory.mktemp("encoder")
    write_sentence_encoder(encoder, folder, width=8, positions=16)
    assert read_sentence_encoder(folder, folder).to_record() == encoder.to_record()
    assert SentenceEncoder.from_record(json.loads(json.dumps(encoder.to_record()))) == encoder


@pytest.mark.parametrize("save", [save_huggingface, save_ours])
def test_it_goes_along_with_a_model(tmp_path, save):
    said = SentenceEncoder((CLS,), max_length=9, normalize=True)
    before = models.pretrained("BertModel", models.tokenizer())
    assert save(dataclasses.replace(before, sentences=said), tmp_path / "out") == ()
    assert load_pretrained(tmp_path / "out").sentences == said
    save(before, tmp_path / "plain")
    assert load_pretrained(tmp_path / "plain").sentences is None
    assert not list(tmp_path.glob("plain/modules.json"))


def test_a_dense_layer_by_hand_and_through_files(tmp_path):
    kernel = np.array([[1, 0], [2, 1], [0, -1]], np.float32)
    layer = DenseLayer(kernel, np.array([0.5, 0], np.float32), "torch.nn.modules.activation.ReLU")
    encoder = SentenceEncoder((CLS,), layers=(layer,))
    hidden, mask = jnp.array([[[1.0, 2, 3], [9, 9, 9]]]), jnp.array([[True, False]])
    assert encoder.of(hidden, mask).tolist() == [[5.5, 0]]  # 1 + 4 + 0.5; max(2 - 3, 0)
    write_sentence_encoder(encoder, tmp_path, width=3, positions=4)
    again = read_sentence_encoder(tmp_path, tmp_path)
    assert again.of(hidden, mask).tolist() == [[5.5, 0]]
    assert json.loads((tmp_path / "2_Dense" / "config.json").read_text())["in_features"] == 3


def test_poolings_of_real_pieces_alone():
    hidden = jnp.array([[[1.0, -4], [3, -2], [99, 99]]])
    mask = jnp.array([[True, True, False]])
    want = {
        "cls": [1, -4], "max": [3, -2], "mean": [2, -3], "weighted_mean": [7 / 3, -8 / 3],
        "mean_sqrt_len": [4 / np.sqrt(2), -6 / np.sqrt(2)], "last": [3, -2],
    }  # fmt: skip
    assert [pooling.name for pooling in POOLINGS] == [
        "cls", "max", "mean", "mean_sqrt_len", "weighted_mean", "last",
    ]  # fmt: skip
    for pooling in POOLINGS:
        np.testing.assert_allclose(pooling.of(hidden, mask)[0], want[pooling.name], rtol=1e-6)
    assert unit_length(jnp.array([[3.0, 4], [0, 0]])).round(6).tolist() == [
        [pytest.approx(0.6), pytest.approx(0.8)], [0, 0]
    ]  # fmt: skip
