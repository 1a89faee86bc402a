"""A path, also a mistyped one, is never asked of the hub; a name of the hub is."""

import pytest

from bert_jax import Bert, Tokenizer
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.errors import UserError
from bert_jax.tables.storage import load_tables

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
        match=r"got 'runs/pretrian', where there is nothing; expected the path of a checkpoint: "
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
        ("gs://bucket/model", None),
    ],
)
def test_what_can_only_be_a_path_is_not_asked_of_the_hub(hub, name, near):
    with pytest.raises(UserError, match="where there is nothing; expected the path") as caught:
        load_pretrained(name)
    assert hub == []
    assert "\n" not in str(caught.value)
    if near is not None:
        assert str(caught.value).endswith(f": there is {near}")


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
    with pytest.raises(UserError, match=r"the Hugging Face hub did not give \(asked\)"):
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
    with pytest.raises(UserError, match=r"the Hugging Face hub did not give \(asked\)"):
        load_pretrained(name if revision is None else f"{name}@{revision}")
    assert asked == [(name, revision)]


def test_the_home_folder_is_followed(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    with pytest.raises(UserError, match="got ~/model, which is no checkpoint"):
        load_pretrained("~/model")
