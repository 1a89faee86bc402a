import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.tasks.entities import F1, Entity, TagScheme, entities, entity_f1, tag_scheme
from bert_jax.tasks.glue import GLUE, glue_task
from bert_jax.tasks.question_answering.squad import (
    Answer,
    Question,
    answer_scores,
    best_null_threshold,
    exact_match,
    normal_answer,
    squad_scores,
    word_f1,
)
from bert_jax.tasks.question_answering.squad_files import read_squad
from bert_jax.tasks.scores import SCORES, score

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"


def test_classification_by_hand():
    predicted, labels = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0])
    found = score(["accuracy", "macro_f1", "f1", "matthews"], predicted, labels)
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["f1"] == pytest.approx(2 / 3)  # 2 right, 3 guessed, 3 true
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1 / 2) / 2)  # 1 right, 2 guessed, 2 true
    assert found["matthews"] == pytest.approx((2 * 1 - 1 * 1) / np.sqrt(3 * 3 * 2 * 2))
    with pytest.raises(UserError, match="got score 'f2'; expected one of accuracy"):
        score(["f2"], predicted, labels)


def test_regression_by_hand():
    labels = np.array([1.0, 2.0, 3.0, 4.0])
    assert score(["pearson"], 2 * labels + 1, labels)["pearson"] == pytest.approx(1)
    assert score(["spearman"], -np.exp(labels), labels)["spearman"] == pytest.approx(-1)
    assert score(["pearson", "spearman"], np.ones(4), labels) == {"pearson": 0, "spearman": 0}


def test_glue_knows_its_scores():
    assert len(GLUE) == 9
    assert all(name in SCORES for task in GLUE.values() for name in task.scores)
    assert glue_task("cola").scores[0] == "matthews"
    with pytest.raises(UserError, match="got GLUE task 'colo'; expected one of cola, sst2"):
        glue_task("colo")


@pytest.mark.parametrize(
    "tags, expected",
    [
        ("B-a I-a O B-b", "a02 b34"),
        ("I-a I-a I-b B-b", "a02 b23 b34"),  # not begun, another kind, begun anew
        ("S-a E-a B-a E-a I-a", "a01 a12 a24 a45"),  # after an end a new one begins
        ("E-a E-a O I-b", "a01 a12 b34"),
        ("U-a B-a L-a", "a01 a13"),
        ("O O", ""),
        ("B-a I-b", "a01 b12"),
    ],
)
def test_entities_as_conlleval_finds_them(tags, expected):
    assert "".join(f" {e.kind}{e.start}{e.end}" for e in entities(tags.split()))[1:] == expected


@given(st.lists(st.sampled_from(["O", "B-a", "I-a", "E-a", "S-a", "B-b", "I-b", "E-b", "S-b"])))
def test_entities_cover_what_is_tagged_once(tags):
    covered = [i for e in entities(tags) for i in range(e.start, e.end)]
    assert covered == [i for i, tag in enumerate(tags) if tag != "O"]
    for e in entities(tags):
        assert {tags[i][2:] for i in range(e.start, e.end)} == {e.kind}


def test_entity_f1_by_hand():
    truth = [["B-a", "I-a", "O", "B-b"], ["O", "B-a"]]
    predicted = [["B-a", "I-a", "O", "B-a"], ["O", "O"]]
    found = entity_f1(predicted, truth)
    assert found["all"] == F1(1 / 2, 1 / 3, 2 / 5, 3)
    assert found["a"] == F1(1 / 2, 1 / 2, 1 / 2, 2)
    assert found["b"] == F1(0, 0, 0, 1)
    assert Entity("b", 3, 4) in entities(truth[0])


@pytest.mark.parametrize(
    "tags, expected",
    [
        ("O B-x I-x S-y", "BIOES (LETTER-kind)"),
        ("B-x I-x", "BIO (LETTER-kind)"),  # every word is in a chunk
        ("I-x O", "IO (LETTER-kind)"),
        ("B I O", "BIO without kinds"),
        ("B M E S", "BMES without kinds"),  # Chinese words
        ("B-x M-x E-x S-x O", "BMES (LETTER-kind)"),
        ("B-x I-x L-x U-x O", "BILOU (LETTER-kind)"),
        ("B-x M-x E-x W-x O", "BMEW (LETTER-kind)"),
        ("B-x E-x U-x O", "BEUO (LETTER-kind)"),
        ("PER-B PER-I LOC-B O", "BIO (kind-LETTER)"),
        ("B_PER I_PER O", "BIO (LETTER_kind)"),
        ("PER_B PER_E PER_S O", "BIOES (kind_LETTER)"),
        ("B-PER_B I-PER_I O", "BIO (LETTER-kind)"),
        ("B-PER I-PER O X", "BIO (LETTER-kind); X as O"),
        ("B I O _", "BIO without kinds; _ as O"),
    ],
)
def test_a_scheme_is_recognised_and_said(tags, expected):
    assert str(tag_scheme(tags.split())) == expected


@pytest.mark.parametrize(
    "tags",
    [
        "NOUN VERB O",
        "O X-y",
        "A B C D E F I N P R S T V X",
        "A B O",
        "S M L",
        "O",
        "",
        "O S E",
        "B-",
    ],
)
def test_tags_that_mark_no_entities(tags):
    assert tag_scheme(tags.split()) is None


FORMS = {  # letters for the first, a middle, the last word of an entity, and for one of one word
    "BIO": "BIIB", "BIOES": "BIES", "BILOU": "BILU", "BMES": "BMES", "BMEW": "BMEW",
}  # fmt: skip
SPANS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 4), st.sampled_from(["PER", "LOC-x", "a_b"])),
    max_size=6,
)


def written(spans, letters, form):
    """Spans of (words before it, its words, its kind) as tags, and as entities."""
    first, middle, last, alone = letters
    tags, expected = [], []
    for gap, length, kind in spans:
        tags += ["O"] * gap
        expected.append(Entity(kind if form.separator else "", len(tags), len(tags) + length))
        inside = [first, *middle * (length - 2), last] if length > 1 else [alone]
        parts = [(kind, letter) if form.kind_first else (letter, kind) for letter in inside]
        tags += [form.separator.join(p) for p in parts] if form.separator else inside
    return tags, expected


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("separator, kind_first", [("-", False), ("_", False), ("-", True),
                                                   ("_", True), ("", False)])  # fmt: skip
@given(spans=SPANS)
def test_spans_that_are_written_in_a_scheme_are_read_back(name, separator, kind_first, spans):
    form = TagScheme(name, separator, kind_first)
    tags, expected = written(spans, FORMS[name], form)
    assert entities(tags, form) == expected
    found = tag_scheme([*tags, "O"])
    if found is not None and spans:
        assert (found.separator, found.kind_first) == (separator, kind_first)
        assert entities(tags, found) == expected
        assert entity_f1([tags], [tags], found)["all"].f1 == 1.0
    letters = {form.letter_and_kind(tag)[0] for tag in tags}
    assert (found is None) == (not letters & (set("BIES") if separator else set("BI")))


def test_without_kinds_there_is_one_score():
    found = entity_f1([["B", "I", "O", "B"]], [["B", "I", "B", "O"]], tag_scheme(["B", "I", "O"]))
    assert found == {"all": F1(1 / 2, 1 / 2, 1 / 2, 2)}


def test_squad_scores_by_hand():
    assert normal_answer("The  U.S. (an) answer!") == "us answer"
    assert exact_match("the Cat", ["dog", "cat."]) == 1
    assert word_f1("a red fox", ["fox", "the quick red fox"]) == pytest.approx(4 / 5)
    answered = Question("1", "", "", "", (Answer("cat", 0),))
    impossible = Question("2", "", "", "", ())
    found = squad_scores([answered, impossible], {"1": "cat", "2": "dog"})
    assert (found.exact, found.answerable_f1, found.unanswerable_exact) == (0.5, 1, 0)
    assert squad_scores([answered, impossible], {"2": ""}).f1 == 0.5
    assert squad_scores([answered], {"1": ""}).unanswerable_exact is None


@given(st.data())
def test_the_best_threshold_is_the_best(data):
    n = data.draw(st.integers(1, 12))
    many = {"min_size": n, "max_size": n}
    margin = np.array(data.draw(st.lists(st.integers(-3, 3).map(float), **many)))
    f1 = np.array(data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), **many)))
    answerable = np.array(data.draw(st.lists(st.booleans(), **many)))

    def mean_f1(threshold):
        answered = margin <= threshold
        return np.where(answered, np.where(answerable, f1, 0.0), ~answerable).mean()

    threshold, best = best_null_threshold(np.where(answerable, f1, 0.0), margin, answerable)
    assert mean_f1(threshold) == pytest.approx(best)
    assert best >= max(mean_f1(t) for t in (-np.inf, *margin)) - 1e-12


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")
def test_real_predictions_get_the_official_figures():
    """BERT's ensemble with TriviaQA on the development part: 86.2 EM and 92.2 F1, as published.

    Devlin et al. 2019, table 2; their 87.4 and 93.2 are of the hidden test part.
    """
    packed = SHARED / "conformance" / "squad_predictions" / "bert_ensemble_v1.1.json.gz"
    predictions = json.loads(gzip.decompress(packed.read_bytes()))
    questions = read_squad(SHARED / "finetune" / "squad" / "dev-v1.1.rebuilt.json")
    exact, f1 = answer_scores(questions, predictions)
    assert len(exact) == len(predictions) == 10570
    assert exact.sum() == 9112
    assert f1.mean() == pytest.approx(0.92195580, abs=1e-8)
