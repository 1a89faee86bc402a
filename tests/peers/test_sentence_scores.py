"""Scores of sentences beside a loop over masked copies in torch, by others' tokenizer and model."""

import re

import pytest

torch = pytest.importorskip("torch", reason="the peers suite needs torch")
transformers = pytest.importorskip("transformers", reason="the peers suite needs transformers")

from bert_jax.convert.huggingface import save_huggingface  # noqa: E402
from bert_jax.inference import SCORE_FORMS, SentenceScorer  # noqa: E402
from tests.convert import models  # noqa: E402
from tests.peers.test_real_weights import REACTIONS, SMILES, package, unpickled  # noqa: E402

TEXTS = [
    "un",
    "unable reading é",
    "read unable, un 你 你",
    "reading readable unreading",
    "xyz read",
]


def their_scores(peer, ids, words, mask_id, within_word):
    """The log-probability of every piece but the first and the last, each in a copy of its own."""
    scores = []
    for i in range(1, len(ids) - 1):
        copy = list(ids)
        copy[i] = mask_id
        if within_word:
            for j in range(i + 1, len(ids) - 1):
                if words[j] == words[i]:
                    copy[j] = mask_id
        with torch.no_grad():
            logits = peer(torch.tensor([copy])).logits[0, i]
        scores.append(float(torch.log_softmax(logits, dim=-1)[ids[i]]))
    return scores


@pytest.mark.parametrize("form", SCORE_FORMS)
@pytest.mark.parametrize("vocab_size", [len(models.PIECES), 64])
def test_our_export_gives_its_scores_there(tmp_path, form, vocab_size):
    before = models.pretrained("BertForPreTraining", models.tokenizer(), vocab_size=vocab_size)
    save_huggingface(before, tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    peer = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path).eval().double()
    for ours in SentenceScorer(before, SCORE_FORMS[form], batch_size=8)(TEXTS):
        theirs = tokenizer(ours.text)
        within_word = form == "within_word_l2r"
        want = their_scores(
            peer, theirs["input_ids"], theirs.word_ids(), tokenizer.mask_token_id, within_word
        )
        assert ours.token_scores == pytest.approx(want, abs=1e-5)
        assert ours.score == pytest.approx(sum(want), abs=1e-4)


def test_rxnfp_gives_the_same_scores_there(tmp_path):
    safe = unpickled(tmp_path, package("rxnfp", "models/transformers/bert_pretrained"))
    scorer = SentenceScorer.from_pretrained(safe, splitting=SMILES)
    peer = transformers.BertForMaskedLM.from_pretrained(safe).eval().double()
    id_of = {piece: i for i, piece in enumerate(scorer.tokenizer.pieces)}
    for ours in scorer(list(REACTIONS)):
        assert list(ours.tokens) == re.findall(SMILES, ours.text)
        ids = [id_of[piece] for piece in ("[CLS]", *ours.tokens, "[SEP]")]
        want = their_scores(peer, ids, range(len(ids)), id_of["[MASK]"], within_word=False)
        assert ours.score == pytest.approx(sum(want), abs=1e-4)
        assert ours.score > -2 * len(want)  # it knows reactions: by chance it is over six a token
