import dataclasses

import jax
import numpy as np
import pytest

from bert_jax.convert.contents import Pretrained
from bert_jax.convert.ours import save_ours
from bert_jax.errors import UserError
from bert_jax.inference.fill_mask import MaskFiller
from tests.convert import models

PRETRAINED = models.pretrained("BertForPreTraining", models.tokenizer())
MODEL = models.model("BertForPreTraining")
TEXTS = ["un [MASK]", "[MASK] read [MASK] é [MASK]", "reading [MASK] 你 un un read"]


def test_the_best_pieces_are_those_of_the_model_alone():
    tokenizer = PRETRAINED.tokenizer
    for batch_size in (1, 2, 32):
        found = list(MaskFiller(PRETRAINED, k=3, batch_size=batch_size).fill(iter(TEXTS)))
        assert [fills.text for fills in found] == TEXTS
        for fills in found:
            ids = tokenizer.encode(fills.text, special_pieces_in_text=True).ids
            chances = np.asarray(jax.nn.softmax(MODEL([ids]).mlm_logits[0], axis=-1))
            places = [i for i, piece in enumerate(ids) if piece == tokenizer.mask_id]
            assert len(fills.pieces) == len(fills.probabilities) == len(places)
            for place, pieces, given in zip(places, fills.pieces, fills.probabilities, strict=True):
                order = np.argsort(-chances[place])[:3]
                assert list(pieces) == [tokenizer.pieces[i] for i in order]
                np.testing.assert_allclose(given, chances[place][order], rtol=1e-5)


def test_rows_without_a_piece_are_never_best():
    wide = models.pretrained("BertForPreTraining", models.tokenizer(), vocab_size=64)
    (fills,) = MaskFiller(wide, k=64).fill(["[MASK]"])
    assert sorted(fills.pieces[0]) == sorted(models.PIECES)
    assert abs(sum(fills.probabilities[0]) - 1) < 1e-5


def test_texts_before_a_mistaken_one_are_answered():
    filler = MaskFiller(PRETRAINED, k=1, batch_size=1)
    stream = filler.fill(["un [MASK]"] * 32 + ["nothing here"])
    for _ in range(32):
        assert next(stream).text == "un [MASK]"
    with pytest.raises(UserError, match=r"text 33: got 'nothing here'; expected a \[MASK\]"):
        next(stream)
    with pytest.raises(UserError, match="text 1: got 18 pieces; expected at most 16"):
        list(filler.fill(["[MASK] " * 16]))


def test_a_text_that_cannot_be_filled_is_marked():
    filler = MaskFiller(PRETRAINED, k=1, batch_size=2)
    texts = [TEXTS[0], "nothing here", "", TEXTS[1], "[MASK] " * 16]
    found = list(filler.fill(texts, "mark"))
    assert [fills.text for fills in found] == texts
    assert [fills.error for fills in found] == [
        "", "got 'nothing here'; expected a [MASK] in it", "got ''; expected a [MASK] in it", "",
        "got 18 pieces; expected at most 16, the model's positions",
    ]  # fmt: skip
    assert [found[0], found[3]] == list(filler.fill(TEXTS[:2]))


def test_models_that_cannot_fill_are_refused():
    with pytest.raises(UserError, match="got a BertModel, which has no masked-LM head"):
        MaskFiller(models.pretrained("BertModel", models.tokenizer()))
    with pytest.raises(UserError, match="got a checkpoint without a vocabulary"):
        MaskFiller(models.pretrained("BertForPreTraining"))
    masked_lm_alone = Pretrained(
        PRETRAINED.config, {k: v for k, v in PRETRAINED.params.items() if k != "nsp"},
        "BertForMaskedLM", tokenizer=PRETRAINED.tokenizer,
    )  # fmt: skip
    assert len(list(MaskFiller(masked_lm_alone).fill(TEXTS))) == 3


@pytest.mark.parametrize("positions", [20, 24, 100])
def test_texts_as_long_as_the_model_has_positions(positions):
    changes = {"max_position_embeddings": positions}
    pretrained = models.pretrained("BertForPreTraining", models.tokenizer(), **changes)
    texts = ["un " * (positions - 3) + "[MASK]", "[MASK]", "un " * 15 + "[MASK]"]
    found = MaskFiller(pretrained, k=2)(texts)
    for text, fills in zip(texts, found, strict=True):
        ids = pretrained.tokenizer.encode(text, special_pieces_in_text=True).ids
        logits = models.model("BertForPreTraining", **changes)([ids]).mlm_logits[0, -2]
        best = np.sort(np.asarray(jax.nn.softmax(logits)))[: -2 - 1 : -1]
        np.testing.assert_allclose(fills.probabilities[0], best, rtol=1e-5)
    assert len(pretrained.tokenizer.encode(texts[0], special_pieces_in_text=True).ids) == positions


def test_from_a_workdir_one_text_gives_one_answer(tmp_path):
    save_ours(PRETRAINED, tmp_path / "checkpoints" / "3")
    filler = MaskFiller.from_pretrained(tmp_path, k=2, batch_size=2)
    fills = filler("un [MASK]")
    assert fills == filler(["un [MASK]"])[0] == next(MaskFiller(PRETRAINED, k=2).fill(TEXTS[:1]))
    assert len(filler(TEXTS)) == 3


def test_weights_of_which_no_probabilities_come_are_refused():
    params = {
        **PRETRAINED.params,
        "mlm": jax.tree.map(lambda x: x + 3e38, PRETRAINED.params["mlm"]),
    }
    filler = MaskFiller(dataclasses.replace(PRETRAINED, params=params))
    with pytest.raises(UserError, match="so large that the probabilities are not"):
        list(filler.fill(["un [MASK]"]))
