import pytest

from bert_jax.data.corpus import Corpus, build_corpus
from bert_jax.data.document import Document
from bert_jax.data.remarks import first_look
from bert_jax.data.sources import Source, open_source
from bert_jax.errors import UserError
from bert_jax.text.splitting import splitting_of
from bert_jax.text.tokenizer import SPECIAL_PIECES, Tokenizer

WORDS = ["the", "cats", "left", ".", "one", "day", "he"]
TOKENIZER = Tokenizer([*SPECIAL_PIECES, *WORDS, *(f"##{i}" for i in range(10))])
PROSE = [f"The cats left. One day he left{i}. He left." for i in range(30)]


def source(texts, remarks=()):
    return Source("here", None, (lambda: iter(Document(t[:9], t) for t in texts),), remarks)


def look(texts, tokenizer=TOKENIZER, heldout_fraction=0.1):
    return first_look(source(texts), tokenizer, heldout_fraction)


def test_good_text_gets_no_remark(tmp_path):
    assert look(PROSE) == look(PROSE, None) == look([" ".join(PROSE)]) == ()
    assert build_corpus(source(PROSE), TOKENIZER, tmp_path / "c").remarks == ()


@pytest.mark.parametrize(
    "texts, tokenizer, remark",
    [
        (
            [f"<p>The {i}</p>\n<p>left.</p> <b>He</b> left. The cats." for i in range(3)],
            None,
            "3 of 3 documents hold tags such as </p>",
        ),
        (
            ['{"title": "The cats", "id": 3}. He left.\n\nThe cats.'] * 2 + PROSE[:8],
            None,
            "2 of 10 documents hold JSON objects, read as if they were prose: expected the format",
        ),
        (
            [f"The \ud800ca{i}. He left." for i in range(4)],
            None,
            "5.56% of the characters are not valid UTF-8",
        ),
        (["The cats left"] * 4 + PROSE[:1], None, "4 of 5 documents are one sentence,"),
        (
            ["He left. " * 150_000, "One day. " * 150_000],
            None,
            "2 documents of 1.4 million characters each: if",
        ),
        (
            PROSE,
            Tokenizer(
                [*SPECIAL_PIECES, *WORDS, *["The", "One", "He"], *(f"##{i}" for i in range(10))]
            ),
            "3 of the vocabulary's 9 words have capitals, which no text reaches",
        ),
        (
            PROSE,
            Tokenizer([*SPECIAL_PIECES, *WORDS, *(f"##{i}" for i in range(10))], lowercase=False),
            "22.0% of the pieces are [UNK]: expected a vocabulary of this text's letters: it has",
        ),
    ],
    ids=range(7),
)
def test_remarks_are_one_line_with_the_way_out(tmp_path, texts, tokenizer, remark):
    (found,) = look(texts, tokenizer)
    assert remark in found and "\n" not in found and ("expected" in found or "say how" in found)
    report = build_corpus(source(texts), tokenizer or TOKENIZER, tmp_path / "c", 0.0)
    assert found in report.remarks
    assert Corpus.open(tmp_path / "c").report == report
    assert found in report.rows().values()


def test_what_cannot_become_a_corpus_is_refused_before_the_work():
    with pytest.raises(UserError, match="got no text: every document is empty"):
        look(["", " "], None)
    with pytest.raises(UserError, match="got 1 document, all in one split; expected"):
        look(["The cats left. He left."], None)
    assert look(["The cats left. He left."], None, heldout_fraction=0) == ()
    with pytest.raises(UserError, match=r"got a vocabulary by which 66.7% of the pieces"):
        look(["xxx yyy zzz. xyz."] * 40)


def test_only_the_beginning_is_read():
    taken = []

    def documents():
        for number in range(100_000):
            taken.append(number)
            yield Document("d", PROSE[0])

    assert first_look(Source("here", None, (documents,)), None, 0.1) == ()
    assert len(taken) <= 2001


def test_files_that_were_left_out_are_in_the_report(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.png").write_text("x")
    for number, text in enumerate(PROSE):
        (tmp_path / "in" / f"{number}.txt").write_text(text)
    found = open_source(str(tmp_path / "in"))
    report = build_corpus(found, TOKENIZER, tmp_path / "c", 0.1)
    assert report.remarks == found.remarks == first_look(found, TOKENIZER, 0.1)
    assert "left out 1 of 31 files" in report.remarks[0]


def test_characters_that_an_expression_does_not_match_are_said():
    texts = ["Na+ Cl-\nNa Cl", "Na+ Na\nCl Cl", "Na Na\nCl Cl"] * 9
    (remark,) = first_look(source(texts), None, 0.2, splitting_of("[A-Z][a-z]?"))
    assert remark == (
        "27 of the first 324 characters match nothing in splitting='[A-Z][a-z]?' and are left out"
        " of the corpus, above all +-: expected an expression that matches all that matters"
    )
    assert first_look(source(texts), None, 0.2, splitting_of("[A-Z][a-z]?|.")) == ()


def test_a_vocabulary_of_text_that_is_cut_already_is_told_from_one_of_words():
    pieces = [*SPECIAL_PIECES, "C", "O"]
    wrong = {
        "of this text, or, if it is not text of words, its `splitting`": Tokenizer(pieces),
        "of this text, split by 'spaces'": Tokenizer(pieces, splitting="spaces"),
    }
    for way_out, tokenizer in wrong.items():
        with pytest.raises(UserError, match=f"% of the pieces are .UNK.: .*{way_out}"):
            first_look(source(["CCO N\nON N\n" * 9] * 4), tokenizer, 0.1)
