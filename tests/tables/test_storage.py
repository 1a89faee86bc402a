import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from bert_jax.checkpoint_files import load_embeddings, load_json
from bert_jax.checkpoints import Checkpoints
from bert_jax.errors import UserError
from bert_jax.tables.array_files import load_npz, save_npz
from bert_jax.tables.orbax_tables import load_orbax_tables
from bert_jax.tables.storage import load_tables, save_tables
from bert_jax.text.vocabulary_record import vocabulary_record
from tests.tables.examples import (
    PIECES,
    assert_same_tables,
    small_tables,
    tables_of,
    vocabulary,
)  # fmt: skip
from tests.test_checkpoints import pretrainer

READABLE = (".npz", ".safetensors", ".orbax")


@pytest.mark.parametrize("suffix", READABLE)
@pytest.mark.parametrize("named", [True, False])
def test_what_is_read_is_what_was_written(tmp_path, suffix, named):
    tables = small_tables(lowercase=False, strip_accents=True, split_chinese=False)
    tables = tables if named else tables.replace(tokenizer=None)
    path = tmp_path / f"tables{suffix}"
    save_tables(tables, path)
    assert_same_tables(load_tables(path), tables)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@settings(max_examples=25, deadline=None)
@given(st.lists(PIECES, unique=True, max_size=8), st.sampled_from(READABLE[:2]))
def test_any_piece_survives(tmp_path_factory, pieces, suffix):
    path = tmp_path_factory.mktemp("pieces") / f"tables{suffix}"
    tables = tables_of(vocabulary(pieces))
    save_tables(tables, path)
    assert_same_tables(load_tables(path), tables)


def test_the_files_are_read_without_this_package(tmp_path):
    tables = small_tables()
    save_tables(tables, tmp_path / "t.npz")
    save_tables(tables, tmp_path / "t.safetensors")
    archive = np.load(tmp_path / "t.npz")
    np.testing.assert_array_equal(archive["position"], tables.position)
    assert json.loads(str(archive["vocabulary"]))["pieces"] == list(tables.tokenizer.pieces)
    with safe_open(tmp_path / "t.safetensors", framework="numpy") as file:
        np.testing.assert_array_equal(file.get_tensor("token"), tables.token)
        assert json.loads(file.metadata()["vocabulary"])["hash"] == tables.vocab_hash


@pytest.fixture
def checkpoint(tmp_path):
    """A full checkpoint of a run whose state cannot be read any more, and what it held."""
    run = pretrainer()
    state = run.initial_state()
    tokenizer = vocabulary([f"w{i}" for i in range(91)])
    record = vocabulary_record(tokenizer) | {"corpus_fingerprint": "f00"}
    store = Checkpoints(tmp_path / "checkpoints", keep=1, config={}, vocabulary=record)
    store.save(state)
    store.close()
    shutil.rmtree(tmp_path / "checkpoints" / "0" / "state")
    return tmp_path / "checkpoints" / "0", state, tokenizer


def test_a_full_checkpoint_gives_them_without_the_rest(checkpoint, tmp_path):
    path, state, tokenizer = checkpoint
    tables = load_tables(path)
    token = state.params["bert"]["embeddings"]["token"]["table"]
    np.testing.assert_array_equal(tables.token, token)
    assert tables.vocab_hash == tokenizer.vocab_hash
    assert_same_tables(load_tables(tmp_path), tables)  # the workdir


def test_their_own_folder_has_the_items_of_a_full_checkpoint(checkpoint, tmp_path):
    tables = load_tables(checkpoint[0])
    save_tables(tables, tmp_path / "alone.orbax")
    written, full = load_embeddings(tmp_path / "alone.orbax"), load_embeddings(checkpoint[0])
    assert written.keys() == full.keys()
    np.testing.assert_array_equal(written["token"]["table"], full["token"]["table"])
    record = load_json(checkpoint[0], "vocabulary")
    assert record.pop("corpus_fingerprint") == "f00"
    assert load_json(tmp_path / "alone.orbax", "vocabulary") == record


@pytest.mark.parametrize("prefixed", [True, False])
def test_a_hugging_face_directory_gives_them_without_the_rest(tmp_path, prefixed):
    """Whatever else the file holds is not even looked at: here it does not fit the model."""
    tables = tables_of(vocabulary(["a", "##b"], lowercase=False), width=4, positions=8)
    names = ("word_embeddings", "token_type_embeddings", "position_embeddings")
    start = "bert.embeddings" if prefixed else "embeddings"
    arrays = dict(zip((f"{start}.{n}.weight" for n in names), list_tables(tables), strict=True))
    arrays |= {f"{start}.LayerNorm.gamma": tables.norm_scale, "cls.odd": np.ones(3)}
    arrays |= {f"{start}.LayerNorm.beta": tables.norm_bias}
    save_file(arrays, tmp_path / "model.safetensors")
    sizes = {"vocab_size": 7, "hidden_size": 4, "num_attention_heads": 2,
             "max_position_embeddings": 8}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    assert_same_tables(load_tables(tmp_path), tables.replace(tokenizer=None))
    tables.tokenizer.save(tmp_path / "vocab.txt")
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert_same_tables(load_tables(tmp_path), tables)
    assert_same_tables(load_tables(tmp_path / "model.safetensors"), tables)


def test_so_does_a_google_checkpoint(tmp_path):
    tensorflow = pytest.importorskip("tensorflow", reason="the extra google-tf is not installed")
    tables = tables_of(vocabulary(["a", "##b"]), width=4, positions=8)
    names = ("word_embeddings", "token_type_embeddings", "position_embeddings")
    arrays = dict(
        zip((f"bert/embeddings/{name}" for name in names), list_tables(tables), strict=True)
    )
    arrays |= {"bert/embeddings/word_embeddings/adam_m": tables.token, "global_step": np.ones(())}
    arrays |= {"bert/embeddings/LayerNorm/gamma": tables.norm_scale}
    arrays |= {"bert/embeddings/LayerNorm/beta": tables.norm_bias}
    prefix = str(tmp_path / "bert_model.ckpt")
    tensorflow.raw_ops.SaveV2(
        prefix=prefix, tensor_names=list(arrays), shape_and_slices=[""] * len(arrays),
        tensors=list(arrays.values()),
    )  # fmt: skip
    sizes = {"vocab_size": 7, "hidden_size": 4, "num_attention_heads": 2,
             "max_position_embeddings": 8}  # fmt: skip
    (tmp_path / "bert_config.json").write_text(json.dumps(sizes))
    tables.tokenizer.save(tmp_path / "vocab.txt")
    assert_same_tables(load_tables(tmp_path), tables)
    assert_same_tables(load_tables(prefix), tables)


def list_tables(tables):
    return [tables.token, tables.segment, tables.position]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    tables = small_tables()
    path = tmp_path / "tables.npz"
    save_npz(tables, path)

    def fail(file, **content):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(UserError, match="No space left on device"):
        save_npz(tables.replace(token=tables.token + 1), path)
    monkeypatch.undo()
    assert_same_tables(load_npz(path), tables)
    assert [each.name for each in tmp_path.iterdir()] == ["tables.npz"]


def test_mistakes_are_named(tmp_path):
    tables = small_tables()
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "text.safetensors").write_text("no archive")
    np.savez(tmp_path / "other.npz", token=tables.token)
    save_tables(tables, tmp_path / "there.orbax")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for name, message in {
        "nowhere/at/all": "'nowhere/at/all', which does not exist; expected the path of a",
        "nowhere.npz": "nowhere.npz', which cannot be read .No such file",
        "nowhere.safetensors": "nowhere.safetensors', which",
        "text.npz": "text.npz', which cannot be read",
        "text.safetensors": "text.safetensors', which",
        "other.npz": "other.npz without segment, position, norm_scale, norm_bias",
        "run": "run, which is not a checkpoint; expected a workdir or checkpoint",
        "text.npz/x": "which does not exist",
    }.items():
        path = name if name == "nowhere/at/all" else tmp_path / name
        with pytest.raises(UserError, match=message):
            load_tables(path)
    for name, message in {
        "tables": "expected a name that ends in .npz, .safetensors, .orbax, .vec, .txt",
        "absent/tables.npz": "cannot be written .No such file or directory.",
        "there.orbax": "there.orbax, which is not empty; expected a directory that is absent",
    }.items():
        with pytest.raises(UserError, match=message):
            save_tables(tables, tmp_path / name)
    (tmp_path / "file").touch()
    for suffix in (".npz", ".safetensors", ".orbax", ".vec", ".txt"):
        with pytest.raises(UserError, match=r"which cannot be written \((Not a|File exists)"):
            save_tables(tables, tmp_path / "file" / f"tables{suffix}")
    for suffix in (".vec", ".txt"):
        with pytest.raises(UserError, match="without a vocabulary"):
            save_tables(tables.replace(tokenizer=None), tmp_path / f"tables{suffix}")


def test_pieces_that_are_not_those_of_the_hash_are_refused(tmp_path):
    save_tables(small_tables(), tmp_path / "t.orbax")
    file = tmp_path / "t.orbax" / "vocabulary" / "data.json"
    record = json.loads(file.read_text())
    record["pieces"][5:7] = reversed(record["pieces"][5:7])
    file.write_text(json.dumps(record))
    with pytest.raises(UserError, match="its vocabulary is not what was written"):
        load_orbax_tables(tmp_path / "t.orbax")
