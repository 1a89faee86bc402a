"""Flax's msgpack: files that transformers 4 wrote, the same names by hand, and damaged ones."""

from pathlib import Path

import flax.serialization
import jax
import ml_dtypes
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax import BertForMaskedLM, BertForPreTraining
from bert_jax.convert.flax_files import FlaxFile
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.errors import UserError
from bert_jax.tables.storage import load_tables
from tests.convert import models

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "flax.npz")
INPUT_IDS = [[2, 5, 7, 6, 3], [2, 9, 3, 10, 3]]


def golden_folder(case, folder):
    """The files that transformers wrote, in a folder."""
    for name in GOLDEN.files:
        if name.startswith(f"{case}/"):
            (folder / name.partition("/")[2]).write_bytes(GOLDEN[name].tobytes())
    return folder


def test_a_file_of_transformers_computes_what_it_did_there(tmp_path):
    folder = golden_folder("pretraining", tmp_path)
    assert load_pretrained(folder).architecture == "BertForPreTraining"
    output = BertForPreTraining.from_pretrained(folder)(INPUT_IDS)
    for ours, theirs in (
        (output.mlm_logits, "prediction_logits"),
        (output.nsp_logits, "seq_relationship_logits"),
    ):
        np.testing.assert_allclose(ours, GOLDEN[f"pretraining {theirs}"], rtol=1e-5, atol=1e-5)


def test_files_under_an_index_and_an_untied_decoder(tmp_path):
    folder = golden_folder("untied", tmp_path)
    assert len(list(folder.glob("*.msgpack"))) == 4
    output = BertForMaskedLM.from_pretrained(folder)(INPUT_IDS)
    np.testing.assert_allclose(output.logits, GOLDEN["untied logits"], rtol=1e-5, atol=1e-5)
    (folder / "flax_model-00003-of-00004.msgpack").unlink()
    with pytest.raises(UserError, match=r"00003-of-00004\.msgpack, which cannot be read \(No such"):
        load_pretrained(folder)


def write(folder, pretrained, tree):
    folder.mkdir(exist_ok=True)
    pretrained.config.to_json(folder / "config.json")
    tree = jax.tree.map(np.asarray, tree)
    (folder / "flax_model.msgpack").write_bytes(flax.serialization.to_bytes(tree))
    return folder


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_every_head_is_found_by_its_published_name(tmp_path, architecture, tied):
    before = models.pretrained(architecture, tie_word_embeddings=tied)
    folder = write(
        tmp_path, before, models.flax_tree(before.params, bare=architecture == "BertModel")
    )
    after = load_pretrained(folder)
    models.assert_same_params(after.params, jax.device_get(before.params))
    same_heads = {"BertForMultipleChoice": "BertForSequenceClassification"}
    assert after.architecture == same_heads.get(architecture, architecture)


def test_whatever_lies_around_the_names(tmp_path, monkeypatch):
    before = models.pretrained("BertForPreTraining")
    tree = jax.tree.map(np.asarray, models.flax_tree(before.params))
    flat = flatten_dict(tree, sep="/")
    for number, form in enumerate(({"params": tree}, flat, {f"params/{k}": flat[k] for k in flat})):
        folder = write(tmp_path / str(number), before, form)
        models.assert_same_params(load_pretrained(folder).params, before.params)
    # LaBSE's token table has more than 1 GiB: flax writes such an array in pieces.
    monkeypatch.setattr("flax.serialization.MAX_CHUNK_SIZE", 100)
    folder = write(tmp_path / "chunked", before, tree)
    assert b"__msgpack_chunked_array__" in (folder / "flax_model.msgpack").read_bytes()
    models.assert_same_params(load_pretrained(folder).params, before.params)
    np.testing.assert_array_equal(
        load_tables(folder).token, before.params["bert"]["embeddings"]["token"]["table"]
    )


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_widened_exactly(tmp_path, dtype):
    before = models.pretrained("BertForMaskedLM")
    half = jax.tree.map(lambda leaf: np.asarray(leaf).astype(dtype), before.params)
    after = load_pretrained(write(tmp_path, before, models.flax_tree(half)))
    models.assert_same_params(
        after.params, jax.tree.map(lambda leaf: leaf.astype(np.float32), half)
    )


def test_what_does_not_fit_is_named(tmp_path):
    before = models.pretrained("BertModel")
    tree = models.flax_tree(before.params, bare=True)
    for layer in tree["encoder"]["layer"].values():
        layer["attention"]["self"]["query"] = {
            "kernel": np.zeros((8, 2, 4), np.float32), "bias": np.zeros(8, np.int32)
        }  # fmt: skip
    tree["decoder_of_mine"] = np.zeros(2, np.float32)
    with pytest.raises(
        UserError, match=r"layer/\{0,1\}/attention/self/query/kernel has shape \[8,"
    ):
        load_pretrained(write(tmp_path, before, tree))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no map of names to arrays"),
        (b"\x93\x01\x02\x03", "no map of names to arrays"),
        (b"\x81", "No more data"),
        (b"\x81\x01\x01", "the key 1, which is not a name"),
        (b"\x81\xa1a" * 40 + b"\x01", "maps inside maps, more than 32"),
        (b"\xdf\xff\xff\xff\xff", "No more data"),  # four thousand million pairs announced
        (
            b"\x81\xa1a\xc9\xff\xff\xff\xff\x01abc",
            "exceeds max_ext_len",
        ),  # an array of 4 GiB announced
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, content, said):
    (tmp_path / "flax_model.msgpack").write_bytes(content)
    with pytest.raises(UserError, match=rf"cannot be read \(as msgpack: .*{said}"):
        FlaxFile(tmp_path / "flax_model.msgpack")


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 7949), st.integers(0, 255), st.integers(0, 7950))
def test_no_damage_is_a_traceback(tmp_path_factory, at, byte, length):
    content = bytearray(GOLDEN["pretraining/flax_model.msgpack"].tobytes())
    content[at % len(content)] = byte
    path = tmp_path_factory.mktemp("damaged") / "flax_model.msgpack"
    path.write_bytes(content[:length] if length % 2 else content)
    try:
        file = FlaxFile(path)
    except UserError as error:
        assert "cannot be read" in str(error)
    else:
        assert all(file.read(name).shape == shape for name, shape in file.shapes.items())
