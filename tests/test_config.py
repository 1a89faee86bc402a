import dataclasses
import json
import subprocess
import sys

import pytest

from bert_jax import BertConfig
from bert_jax.config import ACTIVATION_NAMES
from bert_jax.errors import UserError
from bert_jax.kernels.activations import ACTIVATIONS


@pytest.mark.parametrize(
    ("name", "layers", "width", "heads", "wide"),
    [
        ("tiny", 2, 128, 2, 512),
        ("mini", 4, 256, 4, 1024),
        ("small", 4, 512, 8, 2048),
        ("medium", 8, 512, 8, 2048),
        ("base", 12, 768, 12, 3072),
        ("large", 24, 1024, 16, 4096),
    ],
)
def test_presets_have_the_published_sizes(name, layers, width, heads, wide):
    config = getattr(BertConfig, name)()
    assert config.num_hidden_layers == layers
    assert config.hidden_size == width
    assert config.num_attention_heads == heads
    assert config.intermediate_size == wide
    assert config.head_size == 64
    assert config.vocab_size == 30522
    assert config.max_position_embeddings == 512


def test_the_default_is_base_as_published():
    assert BertConfig() == BertConfig.base()
    config = BertConfig()
    assert (config.hidden_act, config.layer_norm_eps, config.initializer_range) == (
        "gelu",
        1e-12,
        0.02,
    )


def test_presets_take_changes():
    assert BertConfig.tiny(vocab_size=99).vocab_size == 99
    assert BertConfig.tiny().replace(hidden_size=64).hidden_size == 64
    with pytest.raises(UserError, match="got 'vocabulary', which BertConfig lacks"):
        BertConfig.tiny(vocabulary=99)


def test_json_round_trip(tmp_path):
    config = BertConfig.mini(vocab_size=8192, hidden_act="relu", tie_word_embeddings=False)
    config.to_json(tmp_path / "config.json")
    assert BertConfig.from_json(tmp_path / "config.json") == config
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "bert"


def test_the_dropout_of_an_output_layer_is_written_only_where_it_is_its_own():
    assert "classifier_dropout" not in BertConfig.tiny().to_dict()
    assert BertConfig.tiny(hidden_dropout_prob=0.2).head_dropout == 0.2
    own = BertConfig.from_dict({"classifier_dropout": 0.0, "hidden_dropout_prob": 0.2})
    assert own.head_dropout == 0.0 and own.to_dict()["classifier_dropout"] == 0.0
    with pytest.raises(UserError, match="got classifier_dropout=1; expected a probability"):
        BertConfig.tiny(classifier_dropout=1)


def test_reads_what_hugging_face_writes(tmp_path):
    content = {
        "architectures": ["BertForMaskedLM"],
        "attention_probs_dropout_prob": 0.1,
        "classifier_dropout": None,
        "gradient_checkpointing": False,
        "hidden_act": "gelu",
        "hidden_size": 64,
        "id2label": {"0": "A"},
        "intermediate_size": 128,
        "is_decoder": False,
        "add_cross_attention": False,
        "model_type": "bert",
        "num_attention_heads": 2,
        "num_hidden_layers": 3,
        "pad_token_id": None,
        "position_embedding_type": "absolute",
        "torch_dtype": "float32",
        "transformers_version": "4.6.0",
        "type_vocab_size": 2,
        "use_cache": True,
        "vocab_size": 100,
    }
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert BertConfig.from_json(tmp_path / "config.json") == BertConfig(
        vocab_size=100,
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=128,
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("position_embedding_type", "relative_key"),
        ("is_decoder", True),
        ("add_cross_attention", True),
        ("model_type", "roberta"),
        ("pruned_heads", {"0": [1]}),
    ],
)
def test_refuses_other_mathematics_by_name(key, value):
    with pytest.raises(UserError, match=f"got {key}="):
        BertConfig.from_dict({key: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"hidden_size": 100, "num_attention_heads": 3},
            "hidden_size=100 and num_attention_h",
        ),
        ({"vocab_size": 0}, "got vocab_size=0; expected a whole number of at least 1"),
        ({"num_hidden_layers": 2.0}, "got num_hidden_layers=2.0"),
        ({"type_vocab_size": True}, "got type_vocab_size=True"),
        ({"hidden_dropout_prob": 1.0}, "got hidden_dropout_prob=1.0; expected a probability"),
        ({"attention_probs_dropout_prob": float("nan")}, "got attention_probs_dropout_prob=nan"),
        ({"layer_norm_eps": 0}, "got layer_norm_eps=0"),
        (
            {"hidden_act": "gleu"},
            "got hidden_act='gleu'; expected one of gelu, gelu_fast, gelu_new",
        ),
        ({"pad_token_id": 30522}, "got pad_token_id=30522; expected an id of the vocabulary"),
        ({"tie_word_embeddings": 1}, "got tie_word_embeddings=1"),
    ],
)
def test_refuses_wrong_values_by_name(changes, message):
    with pytest.raises(UserError, match=message):
        BertConfig(**changes)


@pytest.mark.parametrize("text", [None, "{", "[1]", '{"hidden_size": "768"}'])
def test_a_bad_file_is_named_in_one_line(tmp_path, text):
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=r"config\.json") as caught:
        BertConfig.from_json(path)
    assert "\n" not in str(caught.value)


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        BertConfig().vocab_size = 1


def test_every_activation_name_has_its_function():
    assert set(ACTIVATION_NAMES) == set(ACTIVATIONS)


def test_importing_the_package_loads_no_framework():
    code = (
        "import sys, bert_jax; bert_jax.BertConfig.tiny(); "
        "sys.exit(len({'jax', 'flax', 'torch', 'tensorflow'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
