"""Google's TensorFlow checkpoints: ours to theirs and back, and as Google's own code saves them."""

import json

import numpy as np
import pytest

tensorflow = pytest.importorskip("tensorflow", reason="needs the extra google-tf")

from bert_jax.convert.google_tf import load_google, save_google  # noqa: E402
from bert_jax.convert.ours import load_ours, save_ours  # noqa: E402
from bert_jax.convert.pretrained import load_pretrained  # noqa: E402
from tests.convert import models  # noqa: E402
from tests.experiments.runs import run  # noqa: E402


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_there_and_back_is_the_same_bit_for_bit(tmp_path, architecture):
    before = models.pretrained(architecture, models.tokenizer())
    notes = save_google(before, tmp_path / "google")
    assert (notes == ()) == (not before.labels)
    after = load_pretrained(tmp_path / "google")
    models.assert_same_params(after.params, before.params)
    assert after.tokenizer.pieces == before.tokenizer.pieces
    assert {**vars(after.config)} == vars(before.config)
    assert sorted(path.name for path in (tmp_path / "google").iterdir()) == [
        "bert_config.json",
        "bert_model.ckpt.data-00000-of-00001",
        "bert_model.ckpt.index",
        "vocab.txt",
    ]


def google_run(directory, prefix="model.ckpt-20"):
    """A checkpoint as Google's `run_pretraining.py` leaves it, with Adam's slots and the step."""
    save_google(models.pretrained("BertForPreTraining", seed=3), directory)
    reader = tensorflow.train.load_checkpoint(str(directory / "bert_model.ckpt"))
    names = list(reader.get_variable_to_shape_map())
    arrays = {name: reader.get_tensor(name) for name in names}
    arrays |= {f"{name}/adam_{slot}": arrays[name] for name in names for slot in "mv"}
    arrays["global_step"] = np.int64(20)
    tensorflow.raw_ops.SaveV2(
        prefix=str(directory / prefix),
        tensor_names=list(arrays),
        shape_and_slices=[""] * len(arrays),
        tensors=list(arrays.values()),
    )


def test_with_adams_slots_by_directory_and_by_prefix(tmp_path):
    google_run(tmp_path / "run")
    want = models.pretrained("BertForPreTraining", seed=3).params
    for source in (tmp_path / "run", tmp_path / "run" / "model.ckpt-20"):
        found = load_pretrained(source)
        models.assert_same_params(found.params, want)
        assert found.architecture == "BertForPreTraining"
        assert "left out: the optimiser's state and counters" in found.notes
    assert load_google(tmp_path / "run" / "bert_model.ckpt").notes[0].startswith("no tokenizer")


def test_the_tables_alone(tmp_path):
    google_run(tmp_path)
    params = load_pretrained(tmp_path, embeddings_only=True).params
    want = models.pretrained("BertForPreTraining", seed=3).params["bert"]["embeddings"]
    models.assert_same_params(params, {"bert": {"embeddings": want}})


def test_what_google_has_no_place_for_is_said(tmp_path):
    untied = models.pretrained("BertForPreTraining", tie_word_embeddings=False, layer_norm_eps=1e-5)
    assert save_google(untied, tmp_path / "google") == (
        "layer_norm_eps is 1e-05; Google's code computes with 1e-12 always",
        "left out, having no place in Google's form: mlm/decoder",
    )
    labelled = models.pretrained("BertForSequenceClassification")
    assert save_google(labelled, tmp_path / "labelled") == (
        "left out: the class names no, perhaps, yes",
    )


def test_by_command_through_all_three_forms(tmp_path):
    before = models.pretrained("BertForPreTraining", models.tokenizer(lowercase=False))
    save_ours(before, tmp_path / "a")
    chain = [
        ("a", "b", "google"),
        ("b", "c", "huggingface"),
        ("c", "d", "google"),
        ("d", "e", "ours"),
    ]
    for source, target, form in chain:
        done = run(
            "convert", f"--from={source}", f"--to={target}", f"--format={form}", cwd=tmp_path
        )
        assert (done.status, done.errors) == (0, "")
    after = load_ours(tmp_path / "e")
    models.assert_same_params(after.params, before.params)
    assert after.config == before.config
    assert after.tokenizer.vocab_hash == before.tokenizer.vocab_hash


def test_a_torn_checkpoint_is_one_line(tmp_path):
    google_run(tmp_path)
    (tmp_path / "model.ckpt-20.data-00000-of-00001").unlink()
    done = run("convert", "--from=.", "--to=out", cwd=tmp_path)
    assert done.status == 2 and len(done.errors.splitlines()) == 1, done.errors
    config = json.loads((tmp_path / "bert_config.json").read_text())
    config["num_hidden_layers"] = 3
    (tmp_path / "bert_config.json").write_text(json.dumps(config))
    (tmp_path / "model.ckpt-20.index").unlink()
    done = run("convert", "--from=.", "--to=out", cwd=tmp_path)
    assert done.status == 2
    assert "bert/encoder/layer_2/attention/self/query/kernel is missing" in done.errors
    assert not (tmp_path / "out").exists()
