"""A model card says what stands in the files of a run, and what was done to a model of others."""

import dataclasses
import json

import pytest

from bert_jax.convert.huggingface import save_huggingface
from bert_jax.convert.model_card import model_card, run_of
from bert_jax.convert.ours import save_ours
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.convert.sentence_encoders import SentenceEncoder
from bert_jax.errors import DamagedFileError
from bert_jax.file_digests import write_sealed
from bert_jax.version import __version__
from tests.convert import models

COMMAND = "python -m experiments.convert --from=runs/a --to=out"
PRETRAINING = (
    {
        "corpus": ["python_docs", "my book.txt"], "vocab": None, "vocab_size": 8192,
        "lowercase": True, "untied": False, "steps": 1000, "batch_size": 64, "phases": "128:1.0",
        "learning_rate": 0.001, "seed": 0, "mesh": "", "init_parts": [],
    },
    {
        "steps": 1000, "objective": "mlm+nsp", "heldout_mlm_loss": 3.14159,
        "heldout_mlm_accuracy": 0.5, "heldout_masked_tokens": 52912,
        "heldout_nsp_interval": [0.1, 0.2], "corpus_fingerprint": "4bfa60b638c9a8c25e45",
        "initialised_from": {"checkpoint": "lab/small@0a1", "taken": []},
    },
)  # fmt: skip
FINETUNING = (
    {
        "task": "classification", "train": "a|b.tsv", "dev": None, "checkpoint": "runs/pretrain",
        "seeds": [0, 1], "grid": {"learning_rate": [1e-5, 2e-5]}, "epochs": 3,
        "freeze_embeddings": False,
    },
    {
        "scores": {"dev": {"accuracy": {"mean": 0.91234, "std": 0.0123, "per_seed": [0.9, 0.92]}},
                   "test": {"accuracy": {"mean": 0.9, "std": None, "per_seed": [0.9]}}},
        "examples": {"train": 1800, "dev": 200},
    },
)  # fmt: skip


def run(tmp_path, architecture, settings, result):
    """A workdir of a run, loaded."""
    save_ours(models.pretrained(architecture, models.tokenizer()), tmp_path / "checkpoints" / "10")
    (tmp_path / "config.json").write_text(json.dumps(settings))
    if result is not None:
        (tmp_path / "result.json").write_text(json.dumps(result))
    return load_pretrained(tmp_path)


def test_a_pretraining_run(tmp_path):
    card = model_card(run(tmp_path, "BertForPreTraining", *PRETRAINING), "lab/small", COMMAND)
    assert card.startswith(
        "---\nlicense: unknown\nlibrary_name: transformers\npipeline_tag: fill-mask\n"
        "tags:\n- bert\n- bert_jax\n---\n\n# lab/small\n\n"
        "A `BertForPreTraining` with 2 layers of width 8, 2 attention heads and 16 positions; its"
        " vocabulary has 11 pieces, uncased.\n"
    )
    for line in (
        "| corpus | python_docs,my book.txt |", "| init_checkpoint | lab/small@0a1 |",
        "| fingerprint of the corpus | 4bfa60b638c9a8c2 |", "| steps | 1,000 |",
        "| learning_rate | 0.001 |", "| mlm_loss | 3.142 |", "| mlm_accuracy | 0.5 |",
        "| masked_tokens | 52,912 |",
    ):  # fmt: skip
        assert f"\n{line}\n" in card, line
    assert (
        "```\npython -m experiments.pretrain --corpus=python_docs '--corpus=my book.txt'"
        " --vocab_size=8192 --lowercase --nountied --steps=1000 --batch_size=64 --phases=128:1.0"
        " --learning_rate=0.001 --seed=0\n```\n"
    ) in card.replace(" \\\n    ", " ")
    assert max(map(len, card.partition("## Command")[2].partition("## Exp")[0].splitlines())) < 99
    assert f"```\n{COMMAND}\n```\n" in card and f"| by | bert_jax {__version__}, jax " in card
    assert "## License\n\nUnknown: nobody has said one yet." in card


def test_a_finetuning_run(tmp_path):
    card = model_card(run(tmp_path, "BertForSequenceClassification", *FINETUNING), "x", COMMAND)
    assert "pipeline_tag: text-classification" in card
    for line in (
        r"| train | a\|b.tsv |", "| checkpoint | runs/pretrain |", "| train examples | 1,800 |",
        "| dev accuracy | 0.9123 ± 0.012, 2 seeds |", "| test accuracy | 0.9 |", "| epochs | 3 |",
    ):  # fmt: skip
        assert f"\n{line}\n" in card, line
    assert "python -m experiments.finetune --task=classification '--train=a|b.tsv' \\\n" in card
    assert "--seeds=0,1 --grid=learning_rate=1e-05,2e-05" in card


def test_a_run_that_is_not_complete_says_so(tmp_path):
    loaded = run(tmp_path, "BertForPreTraining", PRETRAINING[0], None)
    assert "| state | not complete when it was exported |" in model_card(loaded, "x", COMMAND)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(
        DamagedFileError, match=r"config\.json, a damaged file \(it is not valid JSON"
    ):
        model_card(loaded, "x", COMMAND)
    assert run_of(tmp_path) is None


def test_a_changed_score_is_noticed(tmp_path):
    loaded = run(tmp_path, "BertForPreTraining", PRETRAINING[0], None)
    file = tmp_path / "result.json"
    write_sealed(file, {"heldout_mlm_loss": 2.5})
    assert model_card(loaded, "x", COMMAND)
    file.write_text(file.read_text().replace("2.5", "1.5"))
    with pytest.raises(DamagedFileError, match=r"result\.json, a damaged file \(it is not what"):
        model_card(loaded, "x", COMMAND)


def test_a_model_of_others_keeps_its_card(tmp_path):
    own = "---\nlicense: mit\n---\n\n# Theirs\n\nBe kind.\n"
    before = models.pretrained("BertModel", models.tokenizer())
    save_huggingface(dataclasses.replace(before, card=own), tmp_path / "theirs")
    loaded = load_pretrained(tmp_path / "theirs")
    assert loaded.card == own
    for command in ("first", "second"):
        loaded = dataclasses.replace(loaded, card=model_card(loaded, "x", command))
    assert loaded.card.startswith(own) and loaded.card.count("## Converted by bert_jax") == 1
    assert "```\nsecond\n```" in loaded.card and "first" not in loaded.card
    assert f"| from | …/{tmp_path.name}/theirs |" in loaded.card


def test_a_card_does_not_tell_where_files_lay(tmp_path):
    settings = FINETUNING[0] | {"train": "/home/ann/my data/sick/train.tsv", "dev": "/d/dev.tsv"}
    loaded = run(tmp_path, "BertForSequenceClassification", settings, {})
    card = model_card(loaded, "x", f"{COMMAND} --to=/home/ann/out/x")
    assert "/ann" not in card and "--dev=…/d/dev.tsv" not in card
    assert (
        "--train=…/sick/train.tsv" in card
        and "--to=…/out/x" in card
        and "| dev | /d/dev.tsv |" in card
    )


def test_the_hub_is_told_what_it_comes_from_and_is_for():
    before = models.pretrained("BertModel", models.tokenizer(lowercase=False))
    named = dataclasses.replace(
        before, origin="lab/small@0a1", sentences=SentenceEncoder(), notes=("guessed",)
    )
    card = model_card(named, "x", COMMAND)
    assert "library_name: sentence-transformers\npipeline_tag: sentence-similarity\n" in card
    assert "\nbase_model: lab/small\n" in card and "| from | lab/small@0a1 |" in card
    assert "11 pieces, cased." in card and "\n* guessed\n" in card
    plain = model_card(dataclasses.replace(before, tokenizer=None), "x", COMMAND)
    assert "pipeline_tag" not in plain and "positions.\n" in plain and "| from | memory |" in plain
