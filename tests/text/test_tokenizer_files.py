"""`Tokenizer.from_pretrained` from everything that has a vocabulary, and `save_pretrained`."""

import json

import pytest

from bert_jax import Tokenizer
from bert_jax.convert.huggingface import save_huggingface
from bert_jax.convert.ours import save_ours
from bert_jax.errors import UserError
from bert_jax.tables.embedding_tables import EmbeddingTables
from bert_jax.tables.storage import save_tables
from tests.convert import models

SETTINGS = [
    {"lowercase": True},
    {"lowercase": False, "strip_accents": True, "split_chinese": False},
]


def assert_same(found, expected):
    assert found.__reduce__() == expected.__reduce__()


@pytest.mark.parametrize("settings", SETTINGS)
def test_what_is_saved_is_read_and_other_files_stay(tmp_path, settings):
    before = models.tokenizer(**settings)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("{}")
    before.save_pretrained(tmp_path / "out")
    assert_same(Tokenizer.from_pretrained(tmp_path / "out"), before)
    assert_same(Tokenizer.from_pretrained(str(tmp_path / "out" / "tokenizer.json")), before)
    assert_same(Tokenizer.from_pretrained(tmp_path / "out" / "vocab.txt"), before)
    names = {"vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"config.json", *names}
    assert "model_max_length" not in json.loads(
        (tmp_path / "out" / "tokenizer_config.json").read_text()
    )


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_checkpoint_and_a_workdir_of_ours(tmp_path, settings):
    before = models.tokenizer(**settings)
    save_ours(models.pretrained("BertModel", before), tmp_path / "run" / "checkpoints" / "10")
    for path in ("run", "run/checkpoints", "run/checkpoints/10"):
        assert_same(Tokenizer.from_pretrained(tmp_path / path), before)


def test_a_workdir_that_has_no_checkpoint_yet(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    models.tokenizer().save(tmp_path / "vocab.txt")
    assert_same(Tokenizer.from_pretrained(tmp_path), models.tokenizer())


def test_a_hugging_face_directory_and_a_google_one(tmp_path):
    before = models.tokenizer(lowercase=False)
    save_huggingface(models.pretrained("BertModel", before), tmp_path / "hf")
    assert_same(Tokenizer.from_pretrained(tmp_path / "hf"), before)
    (tmp_path / "google").mkdir()
    (tmp_path / "google" / "bert_config.json").write_text("{}")
    (tmp_path / "google" / "bert_model.ckpt.index").write_bytes(b"")
    models.tokenizer().save(tmp_path / "google" / "vocab.txt")
    for path in ("google", "google/bert_model.ckpt"):
        assert_same(Tokenizer.from_pretrained(tmp_path / path), models.tokenizer())


def test_tables_that_were_saved_with_their_vocabulary(tmp_path):
    before = models.tokenizer(lowercase=False)
    pretrained = models.pretrained("BertModel", before)
    tables = EmbeddingTables.from_params(pretrained.params["bert"]["embeddings"], before)
    save_tables(tables, tmp_path / "tables.orbax")
    assert_same(Tokenizer.from_pretrained(tmp_path / "tables.orbax"), before)


def test_a_name_on_the_hub_fetches_the_tokenizers_files_alone(tmp_path, monkeypatch):
    models.tokenizer().save_pretrained(tmp_path)
    asked = []

    def snapshot(name, revision, allow_patterns):
        assert revision is None
        asked.append((name, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert_same(Tokenizer.from_pretrained("someone/small-bert"), models.tokenizer())
    names = [
        "vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
        "added_tokens.json",
    ]  # fmt: skip
    assert asked == [("someone/small-bert", [*names, *(f"0_*/{name}" for name in names)])]


def test_what_has_no_vocabulary_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"has no vocabulary; expected a vocab\.txt or tokenizer"):
        Tokenizer.from_pretrained(tmp_path)
    with pytest.raises(UserError, match="which does not exist; expected the path"):
        Tokenizer.from_pretrained(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="which cannot be written"):
        models.tokenizer().save_pretrained(tmp_path / "file")
