"""Which weights a directory has: read, or named with the way out."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bert_jax import Tokenizer
from bert_jax.convert.huggingface import save_huggingface
from bert_jax.convert.ours import save_ours
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.errors import UserError
from bert_jax.inference.fill_mask import MaskFiller
from bert_jax.tables.storage import load_tables
from bert_jax.tasks.finetuning import FinetuningSettings
from bert_jax.training.pretraining_settings import PretrainingSettings
from tests.convert import models

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 440473133\n"


@pytest.fixture
def folder(tmp_path):
    """A model as Hugging Face writes it."""
    save_huggingface(models.pretrained("BertForMaskedLM", models.tokenizer()), tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["pytorch_model.bin"], r"pickled: .*python -m experiments\.unpickle --from=.*model --to="),
        (
            ["pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"],
            r"\(pytorch_model-00001-of-00002\.bin, pytorch_model\.bin\.index\.json\) are pickled",
        ),
        (["tf_model.h5"], r"\(tf_model\.h5\) are TensorFlow's; .*from_tf=True.* of transformers 4"),
        (["model.onnx"], "a graph for running alone.* of the model that it was exported from"),
        (["onnx/model.onnx", "onnx/model_quantized.onnx"], "onnx/model.onnx, onnx/model_quantized"),
        (["openvino_model.xml", "openvino_model.bin"], "a graph for running alone"),
        (["bert.gguf"], "quantised for llama.cpp"),
        (["adapter_model.safetensors"], "those of an adapter.*merge_and_unload"),
        (
            ["bert.safetensors"],
            r"another name .* expected model\.safetensors or flax_model\.msgpac",
        ),
        (["model-00001-of-00002.safetensors"], r"several files with model\.safetensors\.index\."),
        (["weights.pt"], "perhaps pickled"),
        (["tf_model.h5", "pytorch_model.bin"], "pickled"),  # the shorter way out
        ([], r"has a config\.json and no weights; expected model\.safetensors, .*flax_model"),
    ],
)
def test_weights_that_are_not_read_are_named_with_the_way_out(folder, names, said):
    (folder / "model.safetensors").unlink()
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"never read")
    with pytest.raises(UserError, match=said) as caught:
        load_pretrained(folder)
    assert str(caught.value).startswith(f"got {folder}, wh") and "\n" not in str(caught.value)


def test_the_workdir_of_a_run_that_has_no_checkpoint_is_said_to_be_one(tmp_path):
    for settings in (FinetuningSettings().written(), PretrainingSettings().record()):
        (tmp_path / "config.json").write_text(json.dumps(settings))
        (tmp_path / "checkpoints").mkdir(exist_ok=True)
        with pytest.raises(
            UserError, match=r"a run that has no finished checkpoint yet; .* contin"
        ):
            load_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "flax_model.msgpack", "vocab.txt"])
def test_a_pointer_of_git_lfs_is_said_to_be_one(folder, name):
    for before_it in ("model.safetensors", "tokenizer.json"):
        (folder / before_it).unlink()
    (folder / name).write_bytes(POINTER)
    with pytest.raises(
        UserError, match=r"a pointer of Git LFS and not the file of 440,473,133 byt"
    ):
        Tokenizer.from_pretrained(folder) if name == "vocab.txt" else load_pretrained(folder)


def test_tables_that_are_pointers_are_said_to_be_ones(tmp_path):
    for name in ("tables.npz", "tables.safetensors"):
        (tmp_path / name).write_bytes(POINTER)
        with pytest.raises(UserError, match="a pointer of Git LFS"):
            load_tables(tmp_path / name)


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "_orig_mod.module.", "0.auto_model.", "auto_model.", "model."],
)
def test_what_a_model_was_wrapped_in_does_not_matter(folder, prefix):
    file = folder / "model.safetensors"
    arrays = load_file(file)
    save_file({f"{prefix}{name}": array for name, array in arrays.items()}, file)
    after = load_pretrained(folder)
    models.assert_same_params(after.params, models.pretrained("BertForMaskedLM").params)
    assert after.notes == ()
    save_file(arrays | {f"{prefix}{name}": array for name, array in arrays.items()}, file)
    with pytest.raises(UserError, match="is there again as"):
        load_pretrained(folder)


@pytest.mark.parametrize("inside", ["0_Transformer", "0_BERT"])
@pytest.mark.parametrize("listed", [True, False])
def test_the_old_layout_of_sentence_transformers(folder, inside, listed):
    root = folder.with_name("old")
    shutil.copytree(folder, root / inside)
    (root / "config.json").write_text('{"__version__": "0.3.8"}')  # nothing about a model
    if listed:
        modules = [{"idx": 0, "path": inside}, {"idx": 1, "path": "1_Pooling"}]
        (root / "modules.json").write_text(json.dumps(modules))
    after = load_pretrained(root)
    models.assert_same_params(after.params, load_pretrained(folder).params)
    assert Tokenizer.from_pretrained(root).pieces == after.tokenizer.pieces == tuple(models.PIECES)
    (root / inside / "model.safetensors").rename(root / inside / "pytorch_model.bin")
    with pytest.raises(
        UserError, match=rf"{inside}, whose weights \(pytorch_model\.bin\) are pick"
    ):
        load_pretrained(root)


@pytest.mark.parametrize("save", [save_huggingface, save_ours])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused_unless_asked_for(tmp_path, save, value):
    before = models.pretrained("BertForMaskedLM", models.tokenizer())
    before.params["mlm"]["bias"] = np.array(before.params["mlm"]["bias"])
    before.params["mlm"]["bias"][3] = value
    save(before, tmp_path / "out")
    with pytest.raises(
        UserError, match=r"out with NaN or infinite values in mlm/bias; expected fi"
    ):
        load_pretrained(tmp_path / "out")
    with pytest.raises(UserError, match="NaN or infinite"):
        MaskFiller.from_pretrained(tmp_path / "out")
    after = load_pretrained(tmp_path / "out", allow_not_finite=True)
    models.assert_same_params(after.params, before.params)
    load_pretrained(tmp_path / "out", embeddings_only=True)  # which are finite


def test_tables_alone_are_no_model(tmp_path):
    for name in ("tables.npz", "tables.vec"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(
            UserError, match="embedding tables without a model; expected a model: ex"
        ):
            load_pretrained(tmp_path / name)
