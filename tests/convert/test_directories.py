"""Directories read and written: Hugging Face's and ours, by `from_pretrained` and by hand."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from bert_jax import (
    Bert,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
)
from bert_jax.convert.huggingface import save_huggingface
from bert_jax.convert.models import pretrained_from
from bert_jax.convert.ours import save_ours
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.errors import UserError
from bert_jax.parameters import split_model
from tests.convert import models

REPOSITORY = Path(__file__).parents[2]
IDS = [[2, 5, 7, 6, 3, 9, 10, 3]]


@pytest.mark.parametrize("save", [save_huggingface, save_ours])
@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_what_is_read_is_what_was_written_bit_for_bit(tmp_path, architecture, save):
    before = models.pretrained(architecture, models.tokenizer(lowercase=False))
    assert save(before, tmp_path / "out") == ()
    after = load_pretrained(tmp_path / "out")
    models.assert_same_params(after.params, before.params)
    assert (after.config, after.architecture) == (before.config, architecture)
    assert (after.labels, after.notes) == (before.labels, ())
    assert after.tokenizer.__reduce__() == before.tokenizer.__reduce__()


@pytest.mark.parametrize("scan_layers", [False, True])
@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_a_model_saved_and_loaded_computes_the_same(tmp_path, architecture, scan_layers):
    before = models.model(architecture)
    labels = models.LABELS if architecture in models.LABELLED else ()
    before.save_pretrained(tmp_path / "out", labels=labels)
    after = models.CLASSES[architecture].from_pretrained(tmp_path / "out", scan_layers=scan_layers)
    ids = [IDS] if architecture == "BertForMultipleChoice" else IDS
    for got, want in zip(jax.tree.leaves(after(ids)), jax.tree.leaves(before(ids)), strict=True):
        if scan_layers:
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
        else:
            np.testing.assert_array_equal(got, want)
    assert pretrained_from(after, labels=labels).labels == labels
    models.assert_same_params(
        jax.device_get(pretrained_from(after).params),
        jax.device_get(pretrained_from(before).params),
    )


def test_what_a_checkpoint_lacks_is_drawn_as_at_the_start_and_said(tmp_path, caplog):
    before = models.pretrained("BertModel")
    save_huggingface(before, tmp_path / "out")
    with caplog.at_level(logging.INFO, "bert_jax"):
        model = BertForPreTraining.from_pretrained(tmp_path / "out", seed=5)
    assert "drawn, since the checkpoint has none: mlm, nsp" in caplog.text
    fresh = split_model(BertForPreTraining(before.config, nnx.Rngs(5)))[1]
    params = split_model(model)[1]
    for head in ("mlm", "nsp"):
        models.assert_same_params(params[head], fresh[head])
    models.assert_same_params(params["bert"], before.params["bert"])


def test_what_a_class_lacks_is_left_out_and_said(tmp_path, caplog):
    before = models.pretrained("BertForPreTraining")
    save_ours(before, tmp_path / "out")
    with caplog.at_level(logging.INFO, "bert_jax"):
        model = BertForQuestionAnswering.from_pretrained(tmp_path / "out")
    assert "left out, since BertForQuestionAnswering has none: bert/pooler, mlm, nsp" in caplog.text
    assert "drawn, since the checkpoint has none: qa_outputs" in caplog.text
    models.assert_same_params(
        split_model(model)[1]["bert"]["encoder"], before.params["bert"]["encoder"]
    )


def test_options_change_the_configuration_and_the_class(tmp_path):
    save_huggingface(models.pretrained("BertModel"), tmp_path / "out")
    model = BertForSequenceClassification.from_pretrained(
        tmp_path / "out", num_labels=7, hidden_dropout_prob=0.3, dtype=jax.numpy.bfloat16
    )
    assert model.rate == 0.3 and model.bert.config.hidden_dropout_prob == 0.3
    output = model(IDS)
    assert output.logits.shape == (1, 7)
    assert output.last_hidden_state.dtype == jax.numpy.bfloat16


def test_weights_that_do_not_fit_the_class_are_named(tmp_path):
    save_huggingface(models.pretrained("BertForSequenceClassification"), tmp_path / "out")
    with pytest.raises(
        UserError, match=r"classifier/kernel has shape \[8, 3\] instead of \[8, 2\]"
    ):
        BertForSequenceClassification.from_pretrained(tmp_path / "out", num_labels=2)
    with pytest.raises(UserError, match=r"position/table has shape \[16, 8\] instead of \[32, 8\]"):
        Bert.from_pretrained(tmp_path / "out", max_position_embeddings=32)


def test_weights_in_several_files_under_an_index(tmp_path):
    before = models.pretrained("BertForPreTraining")
    save_huggingface(before, tmp_path / "out")
    arrays = load_file(tmp_path / "out" / "model.safetensors")
    (tmp_path / "out" / "model.safetensors").unlink()
    names = sorted(arrays)
    files = {name: f"model-0000{1 + i % 3}-of-00003.safetensors" for i, name in enumerate(names)}
    for file in set(files.values()):
        some = {name: arrays[name] for name in names if files[name] == file}
        save_file(some, tmp_path / "out" / file)
    index = tmp_path / "out" / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
    models.assert_same_params(load_pretrained(tmp_path / "out").params, before.params)
    (tmp_path / "out" / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(UserError, match=r"model-00002-of-00003\.safetensors, which cannot be read"):
        load_pretrained(tmp_path / "out")
    index.write_text("{}")
    with pytest.raises(UserError, match="expected a JSON object with weight_map"):
        load_pretrained(tmp_path / "out")


def test_a_torn_file_is_one_line(tmp_path):
    save_huggingface(models.pretrained("BertModel"), tmp_path / "out")
    file = tmp_path / "out" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        load_pretrained(tmp_path / "out")


def test_pickled_weights_are_refused_with_the_command_that_mends_it(tmp_path):
    models.config().to_json(tmp_path / "config.json")
    with pytest.raises(UserError, match=r"has a config\.json and no weights"):
        load_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"never read")
    with pytest.raises(UserError, match=r"python -m experiments\.unpickle --from="):
        load_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["./nowhere", "a/b/c", "no folder", ""])
def test_what_is_neither_path_nor_hub_name_is_said(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name == "":
        with pytest.raises(UserError, match="an empty name; expected the path"):
            load_pretrained(name)
        return
    with pytest.raises(UserError, match="which does not exist; expected the path of a checkpoint"):
        load_pretrained(name)


def test_a_name_the_hub_cannot_give_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="which the Hugging Face hub did not return"):
        load_pretrained("nobody/no-such-model")


def test_a_name_in_the_hubs_cache_is_read_without_network(monkeypatch, tmp_path):
    cache, commit = tmp_path / "hub", "0" * 40
    folder = cache / "models--someone--small-bert"
    before = models.pretrained("BertModel", models.tokenizer())
    save_huggingface(before, folder / "snapshots" / commit)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(cache))
    models.assert_same_params(load_pretrained("someone/small-bert").params, before.params)


def test_a_workdir_is_its_newest_checkpoint(tmp_path):
    for step, seed in ((5, 1), (10, 2), (9, 3)):
        save_ours(models.pretrained("BertModel", seed=seed), tmp_path / "checkpoints" / str(step))
    newest = models.pretrained("BertModel", seed=2).params
    for path in (tmp_path, tmp_path / "checkpoints", tmp_path / "checkpoints" / "10"):
        models.assert_same_params(load_pretrained(path).params, newest)
        tables = load_pretrained(path, embeddings_only=True).params
        models.assert_same_params(tables, {"bert": {"embeddings": newest["bert"]["embeddings"]}})


def test_a_directory_that_holds_something_is_left_alone(tmp_path):
    before = models.pretrained("BertModel")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    for save in (save_huggingface, save_ours):
        with pytest.raises(UserError, match="which is not empty"):
            save(before, tmp_path / "out")
        with pytest.raises(UserError, match="which is a file"):
            save(before, tmp_path / "out" / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    save_huggingface(before, tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out" / "thesis.tex").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_fails_halfway_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr("bert_jax.convert.huggingface.write_tokenizer", fail)
    with pytest.raises(OSError, match="the disk is full"):
        save_huggingface(models.pretrained("BertModel", models.tokenizer()), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_vocabulary_and_labels_must_belong(tmp_path):
    model = models.model("BertForSequenceClassification", vocab_size=10)
    with pytest.raises(
        UserError, match="got a vocabulary of 11 pieces for a token table of 10 rows"
    ):
        model.save_pretrained(tmp_path / "out", models.tokenizer())
    with pytest.raises(UserError, match=r"got 2 labels \(a, b\) for 3 scores"):
        model.save_pretrained(tmp_path / "out", labels=["a", "b"])
    with pytest.raises(UserError, match=r"got the labels a, b, a; expected distinct names"):
        model.save_pretrained(tmp_path / "out", labels=["a", "b", "a"])
    with pytest.raises(UserError, match="for no classifier"):
        models.model("BertModel").save_pretrained(tmp_path / "out", labels=["a", "b"])
    assert not (tmp_path / "out").exists()


def test_a_vocabulary_alone_tells_whether_it_is_cased(tmp_path):
    before = models.pretrained("BertModel", models.tokenizer(lowercase=True))
    save_huggingface(before, tmp_path / "out")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "out" / name).unlink()
    found = load_pretrained(tmp_path / "out")
    assert found.tokenizer.lowercase is True
    assert found.notes == (
        "nothing says whether the vocabulary is cased; by its pieces it is uncased",
    )
    vocab = tmp_path / "out" / "vocab.txt"
    vocab.write_text(vocab.read_text().replace("read\n", "Read\n"))
    assert load_pretrained(tmp_path / "out").tokenizer.lowercase is False
    vocab.write_text("just\none\n")
    assert load_pretrained(tmp_path / "out").tokenizer is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_stays_near_one_copy_of_the_weights(tmp_path):
    """Reading and writing 101 MB adds little more than that; in a process of its own."""
    config = models.config(hidden_size=512, intermediate_size=2048, num_hidden_layers=8)
    code = f"""
from pathlib import Path
from bert_jax.convert.huggingface import save_huggingface
from bert_jax.convert.pretrained import load_pretrained
def most():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
save_huggingface(load_pretrained({str(tmp_path / "small")!r}), {str(tmp_path / "first")!r})
before = most()
save_huggingface(load_pretrained({str(tmp_path / "big")!r}), {str(tmp_path / "out")!r})
print(most() - before)
"""
    save_huggingface(models.pretrained("BertModel"), tmp_path / "small")
    Bert(config, nnx.Rngs(0)).save_pretrained(tmp_path / "big")
    size = (tmp_path / "big" / "model.safetensors").stat().st_size
    assert size > 100e6
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "JAX_NUM_CPU_DEVICES": "1"},
    )  # fmt: skip
    assert int(done.stdout) < 1.15 * size, (int(done.stdout), size)
    assert (tmp_path / "out" / "model.safetensors").stat().st_size > 100e6
