import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bert_jax.data.loader import Batches, Phase, RowSettings
from bert_jax.data.masking import Masking, PieceTable, default_max_predictions, mask_row
from bert_jax.data.row_layout import Batch
from bert_jax.errors import UserError
from bert_jax.text.tokenizer import Tokenizer
from tests.data.synthetic import SmallVocabulary, corpora, random_documents

VOCABULARY = SmallVocabulary(100)


def batches_of(documents, masking, *, batch_size=16, steps=50, length=128, **settings) -> Batches:
    row_settings = RowSettings(batch_size, masking=masking, **settings)
    return Batches(
        documents,
        VOCABULARY,
        seed=3,
        steps=steps,
        phases=[Phase(length, 1.0)],
        settings=row_settings,
    )


def unmasked(batch: Batch) -> np.ndarray:
    """Return `input_ids` with the labels put back."""
    ids = batch["input_ids"].copy()
    row, slot = np.nonzero(batch["masked_weights"])
    ids[row, batch["masked_positions"][row, slot]] = batch["masked_labels"][row, slot]
    return ids


def predictions(batches: Batches) -> tuple[np.ndarray, np.ndarray]:
    """Return (what stands at the masked positions, what stood there) of all batches."""
    seen, labels = [], []
    for batch in batches:
        row, slot = np.nonzero(batch["masked_weights"])
        seen.append(batch["input_ids"][row, batch["masked_positions"][row, slot]])
        labels.append(batch["masked_labels"][row, slot])
    return np.concatenate(seen), np.concatenate(labels)


def within(share: float, expected: float, trials: int) -> bool:
    return abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / trials)


MASKINGS = st.builds(
    Masking,
    rate=st.sampled_from([0.15, 0.4, 0.9]),
    max_predictions=st.sampled_from([None, 1, 7]),
    whole_word=st.booleans(),
)


@settings(max_examples=40, deadline=None)
@given(corpora(), MASKINGS, st.integers(1, 4))
def test_masks_are_consistent(documents, masking, max_instances):
    batches = batches_of(
        documents, masking, batch_size=8, steps=2, length=48, max_instances=max_instances
    )
    for batch in batches:
        weights, positions = batch["masked_weights"], batch["masked_positions"]
        assert weights.shape == (8, masking.predictions(48))
        assert set(np.unique(weights)) <= {0.0, 1.0}
        for b in range(8):
            count = int(weights[b].sum())
            assert weights[b, :count].all()  # used slots first
            assert (np.diff(positions[b, :count]) > 0).all()  # ascending, none twice
            assert not positions[b, count:].any()
            assert not batch["masked_labels"][b, count:].any()
            real = int((batch["instance_ids"][b] > 0).sum())
            assert count <= max(1, round(real * masking.rate))
            if not masking.whole_word:
                wanted = min(weights.shape[1], max(1, round(real * masking.rate)))
                ordinary = real - 3 * int(batch["next_weights"][b].sum())
                assert count == min(wanted, ordinary)
        original = unmasked(batch)
        row, slot = np.nonzero(weights)
        labels = original[row, positions[row, slot]]
        # No special was masked: those of the layout are all in place.
        assert not np.isin(labels, VOCABULARY.special_ids).any()
        specials = np.isin(original, (VOCABULARY.cls_id, VOCABULARY.sep_id))
        np.testing.assert_array_equal(batch["input_ids"][specials], original[specials])


@pytest.mark.parametrize("whole_word", [False, True])
def test_eighty_ten_ten_over_the_whole_vocabulary(whole_word):
    documents = random_documents(100, 30)
    seen, labels = predictions(
        batches_of(documents, Masking(whole_word=whole_word), batch_size=64, steps=60)
    )
    n = len(labels)
    assert n > 40000
    is_mask = seen == VOCABULARY.mask_id
    # One random piece in 95 is the original by chance.
    changed = ~is_mask & (seen != labels)
    assert within(is_mask.mean(), 0.8, n)
    assert within(changed.mean(), 0.1 * 94 / 95, n)
    drawn = np.bincount(seen[changed], minlength=100)
    assert drawn[:5].sum() == 0
    # Uniform over the 95 ordinary ids, since labels are uniform here.
    assert stats.chisquare(drawn[5:]).pvalue > 1e-4
    # No class of piece is preferred: continuations are masked as often as they occur.
    assert within(VOCABULARY.is_continuation[labels].mean(), 32 / 95, n) or whole_word


def test_every_position_is_equally_likely():
    documents = random_documents(50, 200)
    masking = Masking()
    counts, real = np.zeros(128), np.zeros(128)
    for batch in batches_of(documents, masking, batch_size=64, steps=60):
        row, slot = np.nonzero(batch["masked_weights"])
        np.add.at(counts, batch["masked_positions"][row, slot], 1)
        real += (~np.isin(unmasked(batch), VOCABULARY.special_ids)).sum(0)
    ordinary = real > 1000
    assert not counts[0]
    rate = counts[ordinary] / real[ordinary]
    spread = np.sqrt(0.155 * 0.845 / real[ordinary])
    assert (np.abs(rate - rate.mean()) < 5 * spread).all()
    assert 0.15 < counts.sum() / real.sum() < 0.16  # 19 of 125


def test_masks_change_with_epoch_and_seed_and_not_otherwise():
    documents = random_documents(4, 3)
    batches = batches_of(documents, Masking(), batch_size=4, steps=60)
    per_epoch = batches.steps_per_epoch(0)
    first, again = batches[0], batches[0]
    other = batches[per_epoch]
    np.testing.assert_array_equal(first["input_ids"], again["input_ids"])
    assert (first["masked_positions"] != other["masked_positions"]).any()


def words_of(ids: np.ndarray) -> list[set[int]]:
    words: list[set[int]] = []
    for position, piece in enumerate(ids):
        if piece in VOCABULARY.special_ids:
            words.append(set())  # a span ends here, and with it a word
        elif VOCABULARY.is_continuation[piece] and words[-1]:
            words[-1].add(position)
        else:
            words.append({position})
    return [word for word in words if word]


def test_whole_words_are_masked_or_left_whole():
    batches = batches_of(random_documents(20, 30), Masking(whole_word=True), steps=10)
    several = count = wanted = 0
    for batch in batches:
        for ids, positions, weights in zip(
            unmasked(batch), batch["masked_positions"], batch["masked_weights"], strict=True
        ):
            masked = set(positions[weights > 0].tolist())
            count += len(masked)
            wanted += max(1, round(0.15 * np.count_nonzero(ids)))
            for word in words_of(ids):
                assert word <= masked or not word & masked
                several += len(word & masked) > 1
    assert several > 100
    assert 0.97 * wanted < count <= wanted  # only the last word may not fit


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Redding reds RED", [["Red", "##ding"], ["red", "##s"], ["R", "##E", "##D"]]),
        ("我爱red", [["我"], ["爱"], ["red"]]),
    ],
)
def test_whole_words_of_cased_and_chinese_text(tmp_path, text, words):
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Red", "red", "R"]
    pieces += ["##ding", "##s", "##E", "##D", "我", "爱"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    tokenizer = Tokenizer.from_file(tmp_path / "vocab.txt", lowercase=False)
    ids = tokenizer.piece_ids(text)
    table = PieceTable.of(tokenizer)
    seen = set()
    for key in range(200):
        row = np.concatenate([[table.cls_id], ids, [table.sep_id]]).astype(np.int32)
        positions, labels = np.zeros((2, 8), np.int32)
        weights = np.zeros(8, np.float32)
        mask_row(
            np.uint64(key),
            row,
            len(row),
            0.3,  # 3 of 9 or 2 of 5 tokens
            True,
            Masking().thresholds,
            table.mask_id,
            table.ordinary_ids,
            table.is_special,
            table.is_continuation,
            positions,
            labels,
            weights,
        )
        masked = [pieces[label] for label in labels[weights > 0]]
        while masked:
            word = next(w for w in words if masked[: len(w)] == w)
            seen.add(tuple(word))
            masked = masked[len(word) :]
    assert seen == {tuple(word) for word in words}


def test_pieces_of_a_masked_word_are_drawn_one_by_one():
    # Per piece, as in the original: some words are half [MASK], half original.
    batches = batches_of(random_documents(20, 30), Masking(whole_word=True), steps=20)
    mixed = 0
    for batch in batches:
        original = unmasked(batch)
        for b in range(len(original)):
            masked = set(batch["masked_positions"][b][batch["masked_weights"][b] > 0].tolist())
            for word in words_of(original[b]):
                if len(word) > 1 and word <= masked:
                    kinds = {int(batch["input_ids"][b, p]) == VOCABULARY.mask_id for p in word}
                    mixed += len(kinds) == 2
    assert mixed > 50


def test_unknown_pieces_are_not_predicted():
    documents = random_documents(20, 10)
    documents.pieces[::2] = VOCABULARY.unk_id
    _, labels = predictions(batches_of(documents, Masking(), steps=10))
    assert len(labels)
    assert not (labels == VOCABULARY.unk_id).any()


def test_shares_can_be_changed():
    documents = random_documents(20, 10)
    masking = Masking(mask_fraction=1.0, random_fraction=0.0)
    seen, _ = predictions(batches_of(documents, masking, steps=5))
    assert (seen == VOCABULARY.mask_id).all()
    masking = Masking(mask_fraction=0.0, random_fraction=0.0)
    seen, labels = predictions(batches_of(documents, masking, steps=5))
    np.testing.assert_array_equal(seen, labels)


def test_default_number_of_predictions():
    assert [default_max_predictions(n) for n in (8, 64, 128, 256, 512)] == [4, 12, 20, 40, 80]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"rate": 0.0}, "rate of 0.0"),
        ({"rate": 15}, "rate of 15"),
        ({"max_predictions": 0}, "max_predictions=0"),
        ({"mask_fraction": 0.8, "random_fraction": 0.3}, "random_fraction=0.3"),
    ],
)
def test_mistakes_are_named(arguments, named):
    with pytest.raises(UserError, match=named):
        Masking(**arguments)
