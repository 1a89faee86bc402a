"""Random models of many shapes, both ways between transformers and here."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the peers suite needs torch")
transformers = pytest.importorskip("transformers", reason="the peers suite needs transformers")

from bert_jax.config import ACTIVATION_NAMES  # noqa: E402
from bert_jax.convert.huggingface import save_huggingface  # noqa: E402
from bert_jax.convert.models import model_from  # noqa: E402
from bert_jax.convert.pretrained import load_pretrained  # noqa: E402
from tests.convert import models  # noqa: E402
from tests.convert.models import CLASSES  # noqa: E402
from tests.experiments.runs import run  # noqa: E402

transformers.logging.set_verbosity_error()

SHAPES = {
    "one layer": {"num_hidden_layers": 1},
    "one head": {"num_attention_heads": 1, "hidden_size": 10, "intermediate_size": 7},
    "deep": {"num_hidden_layers": 11, "hidden_size": 12, "num_attention_heads": 3},
    "wide": {"hidden_size": 96, "num_attention_heads": 12, "intermediate_size": 384},
    "three segments": {"type_vocab_size": 3, "vocab_size": 301},
    "one segment": {"type_vocab_size": 1, "max_position_embeddings": 40},
    "untied": {"tie_word_embeddings": False, "layer_norm_eps": 1e-5},
    "wide and relu": {"hidden_act": "relu", "intermediate_size": 100},
}
COMMON = {
    "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 24, "max_position_embeddings": 20, "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}  # fmt: skip


def random_peer(architecture, shape, **changes):
    """A transformers model whose numbers all differ, LayerNorm's and biases' too."""
    torch.manual_seed(0)
    labels = {"num_labels": 3} if architecture in models.LABELLED else {}
    sizes = {**COMMON, **SHAPES[shape], **labels, **changes}
    config = transformers.BertConfig(**sizes, attn_implementation="eager")
    model = getattr(transformers, architecture)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_activations_are_theirs(tmp_path, activation):
    peer = random_peer("BertForMaskedLM", "one layer", hidden_act=activation)
    peer.save_pretrained(tmp_path)
    model = CLASSES["BertForMaskedLM"].from_pretrained(tmp_path)
    inputs = inputs_for(model.bert.config, "BertForMaskedLM")
    assert_close(model(**inputs, output_hidden_states=True), peer_outputs(peer, inputs))


def inputs_for(config, architecture, seed=0):
    rng = np.random.default_rng(seed)
    mask = np.arange(14)[None] < np.array([14, 9, 5])[:, None]
    inputs = {
        "input_ids": np.where(mask, rng.integers(1, config.vocab_size, mask.shape), 0),
        "token_type_ids": np.where(mask, rng.integers(0, config.type_vocab_size, mask.shape), 0),
        "attention_mask": mask.astype(int),
    }
    if architecture == "BertForMultipleChoice":
        inputs = {name: array[None] for name, array in inputs.items()}
    return inputs


def peer_outputs(model, inputs):
    """What transformers computes, in float64: right to the last digit of fp32."""
    with torch.no_grad():
        output = model.double()(
            **{name: torch.from_numpy(array) for name, array in inputs.items()},
            output_hidden_states=True,
        )
    found = {"hidden_states": torch.stack(output.hidden_states)}
    names = {
        "pooler_output": "pooler_output", "logits": "logits", "start_logits": "start_logits",
        "end_logits": "end_logits", "prediction_logits": "mlm_logits",
        "seq_relationship_logits": "nsp_logits",
    }  # fmt: skip
    for theirs, ours in names.items():
        if theirs in output:
            found[ours] = output[theirs]
    return {name: value.numpy() for name, value in found.items()}


def assert_close(ours, theirs):
    """Within 1e-5 of the largest number of each array."""
    for name, want in theirs.items():
        got = getattr(ours, name)
        got = np.stack(got) if isinstance(got, tuple) else np.asarray(got)
        error = np.abs(got - want).max() / np.abs(want).max()
        assert error < 1e-5, (name, error)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("architecture", CLASSES)
def test_their_model_computes_the_same_here(tmp_path, architecture, shape):
    peer = random_peer(architecture, shape)
    peer.save_pretrained(tmp_path)
    pretrained = load_pretrained(tmp_path)
    assert pretrained.architecture == architecture
    expected = ["no tokenizer: there is no vocab.txt or tokenizer.json"]
    if shape == "untied" and "mlm" in pretrained.params:  # its two biases got different numbers
        bias = "cls.predictions.bias and cls.predictions.decoder.bias differ"
        expected.insert(0, f"{bias}; used cls.predictions.decoder.bias, as transformers does")
    assert list(pretrained.notes) == expected
    model = model_from(pretrained, CLASSES[architecture])
    inputs = inputs_for(pretrained.config, architecture)
    assert_close(model(**inputs, output_hidden_states=True), peer_outputs(peer, inputs))


@pytest.mark.parametrize("shape", ["wide", "untied", "three segments"])
@pytest.mark.parametrize("architecture", CLASSES)
def test_our_export_opens_there_with_no_key_missing_or_left(tmp_path, architecture, shape):
    random_peer(architecture, shape).save_pretrained(tmp_path / "theirs")
    before = load_pretrained(tmp_path / "theirs")
    assert save_huggingface(before, tmp_path / "ours") == ()
    models.assert_same_params(load_pretrained(tmp_path / "ours").params, before.params)
    auto = {
        "BertModel": "AutoModel",
        "BertForPreTraining": "AutoModelForPreTraining",
        "BertForMaskedLM": "AutoModelForMaskedLM",
        "BertForNextSentencePrediction": "AutoModelForNextSentencePrediction",
        "BertForSequenceClassification": "AutoModelForSequenceClassification",
        "BertForMultipleChoice": "AutoModelForMultipleChoice",
        "BertForTokenClassification": "AutoModelForTokenClassification",
        "BertForQuestionAnswering": "AutoModelForQuestionAnswering",
    }[architecture]
    peer, info = getattr(transformers, auto).from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert type(peer).__name__ == architecture
    assert not any(info.values()), info
    model = model_from(before, CLASSES[architecture])
    inputs = inputs_for(before.config, architecture)
    assert_close(model(**inputs, output_hidden_states=True), peer_outputs(peer.eval(), inputs))


def test_class_names_arrive_there(tmp_path):
    before = models.pretrained("BertForSequenceClassification")
    save_huggingface(before, tmp_path / "ours")
    config = transformers.AutoConfig.from_pretrained(tmp_path / "ours")
    assert config.id2label == dict(enumerate(models.LABELS))
    assert config.problem_type == "single_label_classification"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_and_many_files(tmp_path, dtype):
    peer = random_peer("BertForPreTraining", "wide").to(getattr(torch, dtype))
    peer.save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 3
    model = CLASSES["BertForPreTraining"].from_pretrained(tmp_path)
    inputs = inputs_for(model.bert.config, "BertForPreTraining")
    assert_close(model(**inputs, output_hidden_states=True), peer_outputs(peer, inputs))


def test_old_names_and_pickles_through_unpickle(tmp_path):
    peer = random_peer("BertForPreTraining", "wide")
    (tmp_path / "old").mkdir()
    peer.config.save_pretrained(tmp_path / "old")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): value
        for name, value in peer.state_dict().items()
    }
    torch.save(old, tmp_path / "old" / "pytorch_model.bin")
    done = run("unpickle", "--from=old", "--to=new", cwd=tmp_path)
    assert (done.status, done.errors) == (0, "")
    model = CLASSES["BertForPreTraining"].from_pretrained(tmp_path / "new")
    inputs = inputs_for(model.bert.config, "BertForPreTraining")
    assert_close(model(**inputs, output_hidden_states=True), peer_outputs(peer, inputs))

    (tmp_path / "bad").mkdir()
    torch.save({"a": transformers.BertConfig()}, tmp_path / "bad" / "pytorch_model.bin")
    done = run("unpickle", "--from=bad", "--to=worse", cwd=tmp_path)
    assert done.status == 2 and "weights_only loader rejects" in done.errors
    assert not (tmp_path / "worse").exists()
