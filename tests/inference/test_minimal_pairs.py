"""Minimal pairs: what is read, what counts as right, and what is said of a file that has none."""

import gzip
import json

import numpy as np
import pytest

from bert_jax.errors import UserError
from bert_jax.inference import ORIGINAL, JudgedPairs, Pair, SentenceScorer, judge_pairs, read_pairs
from bert_jax.statistics import wilson_interval
from tests.convert import models

SCORER = SentenceScorer(models.pretrained("BertForPreTraining", models.tokenizer()), batch_size=4)


def lines(pairs, **more):
    return "".join(
        json.dumps({"sentence_good": good, "sentence_bad": bad, **more}) + "\n"
        for good, bad in pairs
    )


def test_paradigm_and_phenomenon_are_in_the_lines_or_the_files_name(tmp_path):
    first, second = tmp_path / "wh.island.jsonl.gz", tmp_path / "own.jsonl"
    named = lines([("a", "b")], UID="wh_island", linguistics_term="islands", field="syntax")
    first.write_bytes(gzip.compress((named + lines([("c", "d")])).encode()))
    second.write_text(lines([("é", "f")], UID="else") + "\n", encoding="utf-8")
    assert read_pairs([first, second]) == [
        Pair("a", "b", "wh_island", "islands", f"{first}, line 1"),
        Pair("c", "d", "wh.island", "wh.island", f"{first}, line 2"),
        Pair("é", "f", "else", "else", f"{second}, line 1"),
    ]


def test_a_tie_is_wrong_and_counted():
    names = [("p", "x"), ("p", "x"), ("q", "x"), ("r", "y"), ("r", "y")]
    pairs = [Pair("good", "bad", *name, "here") for name in names]
    scores = np.array([[-1.0, -2.0], [-3.0, -3.0], [-5.0, -4.0], [-1.0, -1.5], [-2.0, -9.0]])
    judged = JudgedPairs(pairs, scores)
    overall = judged.accuracy
    assert (overall.pairs, overall.right, overall.ties, overall.share) == (5, 3, 1, 0.6)
    assert overall.interval == wilson_interval(3, 5)
    shares = {name: found.share for name, found in judged.by_paradigm().items()}
    assert shares == {"p": 0.5, "q": 0.0, "r": 1.0}
    of_phenomenon = judged.by_phenomenon()
    assert [(n, f.right, f.pairs) for n, f in of_phenomenon.items()] == [("x", 1, 3), ("y", 2, 2)]
    assert list(judged.rows())[2] == {
        "paradigm": "q", "sentence_good": "good", "sentence_bad": "bad",
        "score_good": -5.0, "score_bad": -4.0,
    }  # fmt: skip


def test_pairs_get_the_scores_that_their_sentences_get_alone():
    texts = [
        ("un read", "read un"),
        ("reading", "unreading é"),
        ("UN read", "un read"),
        ("你", "un"),
    ]
    pairs = [Pair(*both, "p", "p", "here") for both in texts]
    told = []
    judged = judge_pairs(SCORER, pairs, lambda done, total: told.append((done, total)))
    want = [[SCORER(text).score for text in both] for both in texts]
    np.testing.assert_allclose(judged.scores, want, atol=2e-5)
    assert judged.scores[2, 0] == judged.scores[2, 1]  # the same pieces: a tie to the last bit
    assert judged.accuracy.ties == 1
    total = sum(n * (n + 2) for n in (2, 2, 2, 2, 1, 1))  # six different ones, of so many pieces
    assert told[-1] == (total, total) and [done for done, _ in told] == sorted(d for d, _ in told)


def test_a_sentence_that_cannot_be_scored_is_named_before_any_is(monkeypatch):
    monkeypatch.setattr(SentenceScorer, "score", None)
    for good, bad, said in (
        ("un", "\u200b", r"x, line 7: got '\\u200b', of which no piece is left"),
        ("un " * 15, "un", "x, line 7: got 17 pieces; expected at most 16"),
    ):
        with pytest.raises(UserError, match=said):
            judge_pairs(SCORER, [Pair("un", "read", "p", "p", "x, line 6"),
                                 Pair(good, bad, "p", "p", "x, line 7")])  # fmt: skip


def test_a_few_pairs_that_differ_in_nothing_are_ties_and_more_are_refused(tmp_path):
    """BLiMP's passive_1 and principle_A_case_2 have two and five such pairs of 1,000."""
    file = tmp_path / "pairs.jsonl"
    for same, different, refused in ((1, 99, False), (2, 99, True), (1, 0, True), (5, 995, False)):
        file.write_text(lines([("un", "read")] * different + [("un", "un")] * same))
        if refused:
            number = different + 1
            said = f"line {number}: got 'un' as both sentences ({same} such of {number + same - 1}"
            with pytest.raises(UserError) as error:
                read_pairs([file])
            assert said in str(error.value) and "expected two that differ" in str(error.value)
        else:
            judged = judge_pairs(SCORER, read_pairs([file]))
            assert judged.accuracy.ties == same and judged.accuracy.right in (0, different)


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "which is empty; expected one pair per line"),
        (b'{"sentence_good": "a"}\n', "line 1: got sentence_bad = None; expected a text"),
        (b'\n{"sentence_bad": "a"}\n', "line 2: got sentence_good = None; expected a text"),
        (b'{"sentence_good": "a", "sentence_bad": ""}', "line 1: got sentence_bad = ''"),
        (b'{"sentence_good": "a", "sentence_bad": 3}', "line 1: got sentence_bad = 3; expected"),
        (b'{"sentence_good": "a", "sentence_bad": "b", "UID": 3}', "line 1: got UID = 3; expected"),
        (b'{"sentence_good": \n', "line 1: got invalid JSON"),
        (b"a\tb\n", "line 1: got 'a\\tb'; expected one JSON object per line"),
        (b'{"sentence_good": "\xff"}\n', "line 1: got text that is not valid UTF-8"),
    ],
)
def test_a_file_that_has_no_pairs_is_refused_in_one_line(tmp_path, content, said):
    (tmp_path / "pairs.jsonl").write_bytes(content)
    with pytest.raises(UserError) as error:
        read_pairs([tmp_path / "pairs.jsonl"])
    assert said in str(error.value).replace("\\\\", "\\") and "\n" not in str(error.value)


def test_the_published_form_is_the_default():
    assert SCORER.form is ORIGINAL
