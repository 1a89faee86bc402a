"""A path, also a mistyped one, is never asked of the hub; a name of the hub is."""

import hashlib
import re

import flax.serialization
import jax
import numpy as np
import pytest

from bert_jax import Bert, Tokenizer
from bert_jax.convert.huggingface import save_huggingface
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.errors import DamagedFileError, UserError
from bert_jax.tables.storage import load_tables
from tests.convert import models

TAKERS = [load_pretrained, load_tables, Tokenizer.from_pretrained, Bert.from_pretrained]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder with a run and an exported model in it, and a hub that records what it is asked."""
    for folder in ("runs/pretrain", "runs/books", "exported", "bert-base-cased", "run1"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    asked = []

    def snapshot(name, **_):
        asked.append(name)
        raise OSError("asked")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    return asked


@pytest.mark.parametrize("take", TAKERS)
def test_a_mistyped_path_says_what_there_is_and_asks_nobody(hub, take):
    with pytest.raises(
        UserError,
        match=r"got 'runs/pretrian', which does not exist; expected the path of a checkpoint: "
        "there is runs/pretrain$",
    ):
        take("runs/pretrian")
    assert hub == []


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("run/pretrain", "runs/pretrain"),  # a letter is missing
        ("runz/pretrain", "runs/pretrain"),  # one is wrong
        ("rusn/pretrain", "runs/pretrain"),  # two are swapped
        ("exportd", "exported"),
        ("exporteed", "exported"),
        ("runs/books/checkpoints/10", None),
        ("runs/completely-different", None),
        ("./bert-base-uncased", "bert-base-cased"),
        ("../bert-base-uncased", None),
        ("~/no-such-folder-of-mine", None),
        ("/no-such-folder/model", None),
        ("a/b/c", None),
        ("a\\b", None),
        ("model/", None),
        ("vocab.txt", None),
        ("someone/model.safetensors", None),
        ("someone/model.ckpt", None),
        ("two words", None),
        ("a--b", None),
        ("C:\\models\\bert", None),
    ],
)
def test_what_can_only_be_a_path_is_not_asked_of_the_hub(hub, name, near):
    with pytest.raises(UserError, match="which does not exist; expected the path") as caught:
        load_pretrained(name)
    assert hub == []
    assert "\n" not in str(caught.value)
    if near is not None:
        assert str(caught.value).endswith(f": there is {near}")


def test_a_url_is_no_name_of_the_hub(hub):
    with pytest.raises(UserError, match="got source=https://host/model, which cannot be read"):
        load_pretrained("https://host/model")
    assert hub == []


@pytest.mark.parametrize(
    "name",
    [
        "bert-base-uncased",  # although bert-base-cased is here
        "google-bert/bert-base-uncased",
        "BAAI/bge-small-en-v1.5",
        "prajjwal1/bert-tiny",
        "gpt2",
        "run2",  # run1 is another run, not this one mistyped
        "nobody/pretrain",
    ],
)
def test_names_of_the_hub_are_asked_for(hub, name):
    with pytest.raises(UserError, match=r"the Hugging Face hub did not return \(asked\)"):
        load_pretrained(name)
    assert hub == [name]


@pytest.mark.parametrize("name", ["bert-base-uncased", "someone/model"])
@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/3", "0123abc", None])
def test_a_revision_may_be_named(hub, monkeypatch, name, revision):
    asked = []

    def snapshot(name, *, revision, allow_patterns):
        asked.append((name, revision))
        raise OSError("asked")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    with pytest.raises(UserError, match=r"the Hugging Face hub did not return \(asked\)"):
        load_pretrained(name if revision is None else f"{name}@{revision}")
    assert asked == [(name, revision)]


def test_the_home_folder_is_followed(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    with pytest.raises(UserError, match="got ~/model, which is not a checkpoint"):
        load_pretrained("~/model")


def cached(folder, *commits, main=None):
    """A folder as the hub's library keeps a model: files in blobs, links to them by commit."""
    blobs = folder / "blobs"
    blobs.mkdir(parents=True)
    for number, commit in enumerate(commits):
        save_huggingface(models.pretrained("BertModel", seed=number), folder / "made")
        snapshot = folder / "snapshots" / commit
        snapshot.mkdir(parents=True)
        for file in (folder / "made").iterdir():
            file.rename(blobs / f"{commit}-{file.name}")
            (snapshot / file.name).symlink_to(f"../../blobs/{commit}-{file.name}")
        (folder / "made").rmdir()
    if main is not None:
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text(main)
    return folder


def test_a_folder_of_the_hubs_cache_is_the_model_it_keeps(tmp_path):
    one = cached(tmp_path / "models--a--one", "0a1")
    main = cached(tmp_path / "models--a--main", "0a1", "0b2", main="0b2")
    several = cached(tmp_path / "models--a--several", "0a1", "0b2")
    for folder, seed in ((one, 0), (main, 1), (main / "snapshots" / "0a1", 0)):
        wanted = models.pretrained("BertModel", seed=seed).params
        models.assert_same_params(load_pretrained(folder).params, wanted)
    with pytest.raises(UserError, match=r"with 2 snapshots \(0a1, 0b2\) and none that refs/main"):
        load_pretrained(several)
    (one / "blobs" / "0a1-model.safetensors").unlink()
    with pytest.raises(UserError, match=r"a link to \.\./\.\./blobs/0a1-model\.safetensors, which"):
        load_pretrained(one)


def git_hash(content):
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


def test_what_the_hubs_cache_holds_is_what_its_hash_says(tmp_path, monkeypatch):
    """Of the large files sha256, of the others git's hash, whether by folder, commit or name."""
    folder = cached(tmp_path / "models--a--one", "0a1")
    files = {}
    for link in (folder / "snapshots" / "0a1").iterdir():
        content = link.read_bytes()
        large = link.suffix == ".safetensors"
        blob = link.resolve()
        named = hashlib.sha256(content).hexdigest() if large else git_hash(content)
        files[link.name] = blob.rename(blob.with_name(named))
        link.unlink()
        link.symlink_to(f"../../blobs/{named}")
    snapshot = folder / "snapshots" / "0a1"
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(snapshot))
    monkeypatch.chdir(tmp_path)
    wanted = models.pretrained("BertModel").params
    for source in (folder, snapshot, "someone/one"):
        models.assert_same_params(load_pretrained(source).params, wanted)
    assert files["config.json"].name == git_hash(files["config.json"].read_bytes())
    for name in ("model.safetensors", "config.json"):
        whole = files[name].read_bytes()
        files[name].write_bytes(whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])
        for source in (folder, snapshot, snapshot / name, "someone/one"):
            said = f"got {snapshot / name}, a damaged file (its hash is not the hub's); "
            with pytest.raises(DamagedFileError, match=re.escape(said)) as raised:
                load_pretrained(source)
            assert str(raised.value).endswith(f"remove {files[name]}, and it is downloaded again")
        files[name].write_bytes(whole)


def test_of_weights_of_flax_in_the_hubs_cache_too(tmp_path):
    folder = cached(tmp_path / "models--a--one", "0a1")
    snapshot, before = folder / "snapshots" / "0a1", models.pretrained("BertModel")
    (snapshot / "model.safetensors").unlink()
    tree = jax.tree.map(np.asarray, models.flax_tree(before.params, bare=True))
    content = flax.serialization.to_bytes(tree)
    blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
    (snapshot / "flax_model.msgpack").symlink_to(f"../../blobs/{blob.name}")
    blob.write_bytes(content)
    for source in (folder, snapshot):
        models.assert_same_params(load_pretrained(source).params, before.params)
    blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    for source in (folder, snapshot):
        with pytest.raises(DamagedFileError, match=r"flax_model\.msgpack, a damaged file \(its ha"):
            load_pretrained(source)


def test_of_a_model_on_the_hub_the_weights_that_are_read_are_fetched(tmp_path, monkeypatch):
    """A hub with one model: what is fetched of it lies in its snapshot."""
    before = models.pretrained("BertModel")
    tree = jax.tree.map(np.asarray, models.flax_tree(before.params, bare=True))
    commit, fetched = tmp_path / "snapshots" / "0a1", []
    on_hub = {"flax_model.msgpack": flax.serialization.to_bytes(tree)}
    commit.mkdir(parents=True)
    before.config.to_json(commit / "config.json")

    def snapshot(name, *, revision, allow_patterns):
        for file, content in on_hub.items():
            if file in allow_patterns:
                fetched.append((name, revision, file))
                (commit / file).write_bytes(content)
        return str(commit)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    monkeypatch.chdir(tmp_path)
    models.assert_same_params(load_pretrained("someone/bert").params, before.params)
    assert fetched == [("someone/bert", "0a1", "flax_model.msgpack")]
    (commit / "flax_model.msgpack").unlink()
    on_hub.clear()

    def listed(api, name, *, revision):
        assert (name, revision) == ("someone/bert", "0a1")
        return ["config.json", "pytorch_model.bin", "rust_model.ot"]

    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", listed)
    with pytest.raises(
        UserError,
        match=r"got someone/bert@v1, whose weights \(pytorch_model\.bin\) are pickled.*"
        r"unpickle --from=someone/bert@v1 --to=DIR",
    ):
        load_pretrained("someone/bert@v1")
