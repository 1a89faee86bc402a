import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.tasks.labels import label_ids, label_key, label_names, label_numbers
from bert_jax.tasks.lines import LineError
from bert_jax.tasks.multiple_choice import ChoiceQuestion, read_choices
from bert_jax.tasks.question_answering.placing import place_answers, placing_remarks
from bert_jax.tasks.question_answering.squad import Answer, Question
from bert_jax.tasks.question_answering.squad_files import question_lines, questions_of, read_squad
from bert_jax.tasks.tables import read_table, semicolons, table_lines
from bert_jax.tasks.tagged_files import (
    TaggedSentence,
    column_sentences,
    read_columns,
    read_conllu,
)

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data" / "finetune"
shared = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "name, content, columns",
    [
        ("a.tsv", "text\tlabel\na \"b\"\tyes\n\nc,\u2028d \tno\n", None),
        ("a.tsv", 'a "b"\tyes\r\nc,\u2028d \tno', ["text", "label"]),
        ("a.csv", 'text,label\r\n"a ""b""",yes\r\n"c,\u2028d ",no\r\n', None),
        ("a.jsonl", '{"text": "a \\"b\\"", "label": "yes"}\n\n'
         '{"label": "no", "text": "c,\u2028d "}', None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("zipped", [False, True])
def test_one_table_in_three_formats(tmp_path, name, content, columns, zipped):
    path = written(tmp_path, name, content)
    if zipped:
        path = written(tmp_path, name + ".gz", gzip.compress(content.encode()))
    table = read_table(path, columns)
    assert table.texts("text", "text_column") == ['a "b"', "c,\u2028d"]
    assert table.column("label", "label_column") == ["yes", "no"]
    assert table.lines[0] == 1 + (columns is None and "jsonl" not in name)


@pytest.mark.parametrize(
    "name, content, message",
    [
        (
            "a.tsv",
            "text\tlabel\nx\ty\nx\n",
            "line 3: got 1 fields; expected 2, one for each of text",
        ),
        ("a.tsv", "text\ttext\nx\ty\n", "expected distinct names"),
        ("a.tsv", b"text\tlabel\nx\ty\n\xff\ty\n", "line 3: got text that is not valid UTF-8"),
        ("a.csv", 'text,label\nx,"y\n', "got invalid CSV"),
        ("a.csv", "", "got the columns of an empty file"),
        ("a.tsv", "text\tlabel\n", "which has no rows"),
        ("a.txt", "x", "expected a name that ends in .tsv, .csv, .jsonl"),
        ("a.jsonl", '{"text": 1}\nx', "line 2: got invalid JSON"),
        (
            "a.csv",
            'text,label\nx,y\n"a\nÄ",y\n'.encode("latin-1"),
            r"line 4: got text that is not valid UTF-8 \(at byte 0 of the line\); .* `iconv -f ISO",
        ),
        (
            "a.jsonl",
            '{"text": "caf\xe9"}'.encode("latin-1"),
            r"line 1: .*\(at byte 13 of the line\)",
        ),
        *(
            (f"a.{end}", "text,label\nx,y\n".encode(encoding), f"line 1: got UTF-16 .*{said}")
            for end in ("csv", "tsv", "jsonl")
            for encoding, said in (
                ("utf-16", r"\(at byte 0: FF FE\); .*`iconv -f UTF-16 -t UTF-8` makes"),
                ("utf-16-le", "every other byte is zero.*`iconv -f UTF-16LE -t UTF-8`"),
                ("utf-16-be", "every other byte is zero.*`iconv -f UTF-16BE -t UTF-8`"),
            )
        ),
        ("a.jsonl", "[1]", "line 1: got a list; expected one object per line"),
        ("a.jsonl", '{"text": 1}\n{"txt": 1}', "line 2: got an object without 'text'"),
    ],
)
def test_a_bad_line_is_named(tmp_path, name, content, message):
    with pytest.raises(UserError, match=message):
        read_table(written(tmp_path, name, content))


@pytest.mark.parametrize(
    ("name", "header", "said"),
    [
        ("a.csv", "Row ID\tText", r"'Row ID\\tText', in .*separated by '\\t': .* ends in .tsv"),
        ("a.tsv", "Row ID;Text", "'Row ID;Text', in .*separated by ';': .* ends in .csv"),
        ("a.tsv", "Row ID,Text", "'Row ID,Text', in .*separated by ',': .* ends in .csv"),
    ],
)
def test_a_header_that_seems_to_be_of_another_format_is_said_to(tmp_path, name, header, said):
    table = read_table(written(tmp_path, name, f"{header}\n1\n"))
    with pytest.raises(UserError, match=f"^got one column, {said}$"):
        table.texts("Text", "text_column")


def test_semicolons_stand_for_commas_where_the_header_has_only_these(tmp_path):
    content = '\ufeff"Row ID";text\r\n1;"so; so, ""and""\r\nso"\r\n2;yes, no\r\n'
    table = read_table(written(tmp_path, "a.csv", content))
    assert table.columns == {"Row ID": ["1", "2"], "text": ['so; so, "and"\r\nso', "yes, no"]}
    assert table.lines == [3, 4] and semicolons(tmp_path / "a.csv")
    commas = written(tmp_path, "b.csv", "text,a;b\nx;y,z\n")
    assert read_table(commas).columns == {"text": ["x;y"], "a;b": ["z"]} and not semicolons(commas)
    bare = written(tmp_path, "c.csv", "I came; I saw\n")
    assert read_table(bare, ["text"]).columns == {"text": ["I came; I saw"]}


def test_each_wrong_row_of_a_csv_is_named_and_no_other(tmp_path):
    content = b'text,label\na,1\n\xe9,"b"c\nd,1\n\xe9,1\nf,1\n'
    header, rows = table_lines(written(tmp_path, "a.csv", content))
    found = list(rows)
    assert header == ["text", "label"]
    assert [(row.number, isinstance(row, LineError)) for row in found] == [
        (2, False), (3, True), (4, False), (5, True), (6, False),
    ]  # fmt: skip


def test_a_missing_file_or_column_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.tsv, which cannot be read \(No such file"):
        read_table(tmp_path / "nowhere.tsv")
    table = read_table(written(tmp_path, "a.jsonl", '{"text": 1}'))
    with pytest.raises(UserError, match=r"got label_column=label, which .* columns, text"):
        table.column("label", "label_column")
    with pytest.raises(UserError, match="line 1: got text = 1; expected a text"):
        table.texts("text", "text_column")
    with pytest.raises(UserError, match=r"expected none: the lines of a .jsonl file name"):
        read_table(tmp_path / "a.jsonl", ["text"])


def test_labels():
    assert label_names(["yes", "no ", "yes"]) == ("no", "yes")
    assert label_names([10, 2, "2", -1]) == ("-1", "2", "10")
    assert label_names([True, False]) == ("false", "true")
    assert label_names(["10.0", "2.0", "2.5"]) == ("2.0", "2.5", "10.0")
    assert label_names([1, "1.0", " 1", 2.0]) == ("1", "2.0")
    assert label_names(["007", "7", "v1.0", "1.0"]) == ("007", "1.0", "7", "v1.0")
    np.testing.assert_array_equal(label_ids(["b", "a", "b"], ("a", "b"), "f", [1, 2, 3]), [1, 0, 1])
    found = label_ids([1, "1.0", " 2", np.float32(2)], ("1.0", "2"), "f", [1, 2, 3, 4])
    np.testing.assert_array_equal(found, [0, 0, 1, 1])
    with pytest.raises(UserError, match="f, line 7: got label 'c'; expected one of a, b"):
        label_ids(["a", "c", "d"], ("a", "b"), "f", [5, 7, 8])
    np.testing.assert_array_equal(label_numbers(["1.5", 2], "f", [1, 2]), np.float32([1.5, 2]))
    for wrong in ("x", None, "nan"):
        with pytest.raises(UserError, match=r"f, line 2: got label .*; expected a number"):
            label_numbers(["1", wrong], "f", [1, 2])


@pytest.mark.parametrize("none", ["", " ", None, math.nan, math.inf, ["a"], {"a": 1}, b"a"])
def test_what_is_no_label(none):
    assert label_key(none) is None
    with pytest.raises(UserError, match=r"f, line 9: got label .*; expected one of None, a"):
        label_ids([none], ("None", "a"), "f", [9])


@given(st.integers(-(10**9), 10**9), st.sampled_from(["", " ", "\t"]))
def test_a_whole_number_is_one_label_however_it_is_written(number, space):
    spelled = [number, float(number), f"{space}{number}{space}", f"{number}.0", np.int64(number)]
    assert {label_key(value) for value in spelled} == {str(number)}
    assert label_key(f"{number}.5") != label_key(number)


def test_a_field_of_any_length_is_read(tmp_path):
    words = "word " * 27_000
    path = written(tmp_path, "long.csv", f'text,label\n"{words}",1\nshort,0\n')
    table = read_table(path)
    assert [len(text) for text in table.texts("text", "text_column")] == [134_999, 5]
    assert table.column("label", "label_column") == ["1", "0"]


def squad(qas, context="The fox, red."):
    return json.dumps({"data": [{"title": "T", "paragraphs": [{"context": context, "qas": qas}]}]})


def test_squad(tmp_path):
    answered = {"id": "1", "question": "Who?", "answers": [{"text": "fox", "answer_start": 4}]}
    impossible = {"id": "2", "question": "Why?", "answers": [], "is_impossible": True}
    path = written(tmp_path, "s.json", squad([answered, impossible]))
    assert read_squad(path) == [
        Question("1", "T", "Who?", "The fox, red.", (Answer("fox", 4),)),
        Question("2", "T", "Why?", "The fox, red.", ()),
    ]
    answered["answers"][0] = {"text": "cow", "answer_start": 5}
    path = written(tmp_path, "s.json", squad([impossible, answered]))
    with pytest.raises(
        UserError,
        match=r"article 1, paragraph 1, question 2: got answer 'cow' with answer_start 5, where the"
        r" context has 'ox,'; expected .* \(1 of 1 answers are not found: bad_answers=skip leaves",
    ):
        place_answers(read_squad(path))
    assert len(read_squad(path)) == 2


GOOD = {"id": "1", "question": "Who?", "answers": [{"text": "fox", "answer_start": 4}]}
Q1 = "article 1, paragraph 1, question 1: got "
WRONG_SQUAD = [
    ("{", "which is not a SQuAD file (line 1: Expecting property name"),
    ('{"data": null}', 'which is not a SQuAD file (data = null); expected a JSON object with'),
    ("[1]", "which is not a SQuAD file; expected"),
    ('{"data": []}', "which has no questions"),
    ('{"data": [5]}', "article 1: got 5; expected an object with paragraphs"),
    ('{"data": [{"title": "T"}]}', "article 1: got no 'paragraphs'; expected it"),
    ('{"data": [{"paragraphs": {}}]}', "article 1: got paragraphs = {}; expected a list of"),
    ('{"data": [{"paragraphs": ["x"]}]}', 'article 1, paragraph 1: got "x"; expected an object'),
    ('{"data": [{"paragraphs": [{"qas": 1}]}]}', "paragraph 1: got qas = 1; expected a list of"),
    (squad([GOOD], None), f"{Q1}context = null; expected a text"),
    (squad(["x"]), f'{Q1}"x"; expected an object with id, question and answers'),
    (squad([{"question": "Who?"}]), f"{Q1}no 'id'; expected it"),
    (squad([GOOD | {"id": True}]), f"{Q1}id = true; expected a text"),
    (squad([GOOD | {"question": None}]), f"{Q1}question = null; expected a text"),
    (squad([GOOD | {"answers": {"text": ["fox"]}}]), f'{Q1}answers = {{"text": ["fox"]}}; expected'
     " a list of answers"),
    (squad([GOOD | {"answers": ["fox"]}]), f'{Q1}"fox"; expected an object with text and'),
    (squad([GOOD | {"answers": [{"text": 1999, "answer_start": 4}]}]), f"{Q1}text = 1999;"),
    (squad([GOOD | {"answers": [{"text": "fox", "answer_start": "4"}]}]),
     f'{Q1}answer_start = "4"; expected a whole number'),
    (squad([GOOD | {"answers": [{"text": "fox"}]}]), f"{Q1}no 'answer_start'"),
    (squad([GOOD, GOOD]), "question 2: got id '1', which "),
]  # fmt: skip


@pytest.mark.parametrize("content, message", WRONG_SQUAD)
def test_every_value_of_a_squad_file_is_checked_and_named(tmp_path, content, message):
    path = written(tmp_path, "s.json", content)
    with pytest.raises(UserError) as error:
        read_squad(path)
    assert message in str(error.value) and str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_each_question_of_a_damaged_file_is_named(tmp_path):
    fine = {"context": "The fox.", "qas": [GOOD | {"id": "2"}, "x", GOOD | {"id": "3"}]}
    broken = {"context": None, "qas": [GOOD, GOOD | {"id": "4"}]}
    data = [{"title": "T", "paragraphs": [fine, broken]}, 5]
    path = written(tmp_path, "s.json", json.dumps({"data": data}))
    found = list(question_lines(path))
    assert [each.number for each in found] == [1, 2, 3, 1, 2, 2]
    assert [getattr(each, "place", str(each).split(": ")[0]) for each in found] == [
        f"{path}, {place}" for place in (
            "article 1, paragraph 1, question 1", "article 1, paragraph 1, question 2",
            "article 1, paragraph 1, question 3", "article 1, paragraph 2, question 1",
            "article 1, paragraph 2, question 2", "article 2",
        )
    ]  # fmt: skip


def test_questions_in_memory_have_ids_of_their_own():
    asked = {"question": "Who?", "context": "The fox.", "answers": []}
    assert [q.id for q in questions_of([asked, asked | {"id": "x"}])] == ["1", "x"]
    with pytest.raises(UserError, match="the examples, item 2: got id 'x', which the examples, it"):
        questions_of([asked | {"id": "x"}] * 2)
    numpy = asked | {"answers": [{"text": "fox", "answer_start": np.int64(4)}]}
    assert questions_of([numpy])[0].answers == (Answer("fox", 4),)
    flagged = {"is_impossible": True, "answers": [{"text": "", "answer_start": -1}]}
    assert questions_of([asked | flagged])[0].answers == ()


CONTEXT = "In 1995, the\u00a0red  fox saw 5 foxes.\nThe fox left."


@pytest.mark.parametrize(
    "text, start, expected",
    [
        ("fox", 18, Answer("fox", 18)),
        ("fox", 17, Answer("fox", 18)),  # off by a little
        ("fox\n", 20, Answer("fox", 18)),
        ("fox", 38, Answer("fox", 39)),
        ("5", 7, Answer("5", 26)),  # not the one of 1995
        ("995,", 5, Answer("995,", 4)),  # a part of a word, where there is nothing else
        ("the red fox", 9, Answer("the\u00a0red  fox", 9)),  # other white space
        ("foxes. The", 25, Answer("foxes.\nThe", 28)),
        ("fox", -1, Answer("fox", 18)),
        ("In", -1, Answer("In", 0)),
        ("left", 0, None),  # too far
        ("cow", 19, None),
        ("", 0, None),
        (" ", 3, None),
        ("fox", 10**30, None),
        ("fox", -(10**30), None),
    ],
)
def test_answers_that_are_off_by_a_little_are_found(text, start, expected):
    question = Question("1", "T", "?", CONTEXT, (Answer(text, start), Answer("left", 43)))
    found = place_answers([question], "skip")
    kept = [] if expected is None else [expected]
    assert list(found.questions[0].answers) == [*kept, Answer("left", 43)]
    assert found.moved == (expected not in (None, Answer(text, start)))
    assert (found.answers_left_out, found.questions_left_out) == (expected is None, 0)
    for answer in found.questions[0].answers:
        assert CONTEXT[answer.start :].startswith(answer.text)


def test_questions_without_an_answer_that_is_found_are_left_out_and_counted():
    good = Question("1", "T", "?", CONTEXT, (Answer("fox", 17),))
    bad = Question("2", "T", "?", CONTEXT, (Answer("cow", 18), Answer("dog", 0)))
    none = Question("3", "T", "?", CONTEXT, ())  # SQuAD 2.0
    found = place_answers([bad, good, none], "skip")
    assert [question.id for question in found.questions] == ["1", "3"]
    assert (found.moved, found.answers_left_out, found.questions_left_out) == (1, 2, 1)
    (remark,) = placing_remarks({"train": place_answers([none]), "dev": found})
    counts = {"answers_found_nearby": 1, "answers_left_out": 2, "questions_left_out": 1}
    assert remark.figures == {"answers": {"dev": counts}}
    assert "\n" not in remark.said and remark.said.startswith("answers: dev, 1 stand up to 32 char")
    assert placing_remarks({"dev": place_answers([none])}) == []
    with pytest.raises(UserError, match=r"\(2 of 3 answers are not found: bad_answers=skip"):
        place_answers([good, bad])
    with pytest.raises(UserError, match="got no answer that occurs in its context"):
        place_answers([bad], "skip")


def test_columns_and_conllu(tmp_path):
    content = "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n\t\nGerman JJ B-MISC"
    assert read_columns(written(tmp_path, "a.conll", content)) == [
        TaggedSentence(("EU", "rejects"), ("B-ORG", "O"), (3, 4)),
        TaggedSentence(("German",), ("B-MISC",), (7,)),
    ]
    assert read_columns(tmp_path / "a.conll", 1)[1].tags == ("JJ",)
    with pytest.raises(UserError, match="line 2: got 'b', 1 columns; expected 2, a word first"):
        read_columns(written(tmp_path, "a.conll", "a\tO\nb\n"))
    with pytest.raises(UserError, match=r"line 2: got 'b\\t', 1 columns; expected 2, a word first"):
        read_columns(written(tmp_path, "a.conll", "a\tO\nb\t\n"))
    rest = "\t_" * 6
    conllu = (
        f"# text = ab c\n1-2\tab\t_\t_{rest}\n1\ta\ta\tDET{rest}\n2\tb\tb\tNOUN{rest}\n"
        f"2.1\tx\t_\t_{rest}\n3\tc d\tc\tVERB{rest}\t \n"
    )
    assert read_conllu(written(tmp_path, "a.conllu", conllu)) == [
        TaggedSentence(("a", "b", "c d"), ("DET", "NOUN", "VERB"), (3, 4, 6))
    ]
    with pytest.raises(UserError, match=r"got label_column=pos"):
        read_conllu(tmp_path / "a.conllu", "pos")
    with pytest.raises(UserError, match="line 1: got 2 columns between tabs; expected the 10"):
        read_conllu(written(tmp_path, "a.conllu", "1\ta\n"))


@pytest.mark.parametrize(
    "content, words, tags",
    [
        # Comments, as in MultiCoNER (the four columns of a word) and CoNLL-U Plus.
        ("# id 7c domain=en\nParis _ _ B-LOC\nis _ _ O\n\n# id 8d domain=en\nhe _ _ O\n",
         [["Paris", "is"], ["he"]], [["B-LOC", "O"], ["O"]]),
        ("# newdoc\n# text = a b\na\tO\n#\tB-x\n\n#\nb\tB-x", [["a", "#"], ["b"]],
         [["O", "B-x"], ["B-x"]]),
        # Words that begin so, as in tweets, also at the beginning.
        ("# O\nthe O\n\n#tag B-new\n# O", [["#", "the"], ["#tag", "#"]],
         [["O", "O"], ["B-new", "O"]]),
        ("10\u00a0000 O\nEuro O\n\u202f O", [["10\u00a0000", "Euro", "\u202f"]], [["O"] * 3]),
        ("10\u00a0000\tO\n\u00a0\tO", [["10\u00a0000", "\u00a0"]], [["O", "O"]]),
        ("a\tX\tO\t\nb\tX\tO \t \n \t\n\nc\tX\tO", [["a", "b"], ["c"]], [["O", "O"], ["O"]]),
        ("a O\t\nb  O ", [["a", "b"]], [["O", "O"]]),
        ("tumour\tB\nsuppressor\tI\nis\tO\n\nthe\tO\ncolon\tB\n",
         [["tumour", "suppressor", "is"], ["the", "colon"]], [["B", "I", "O"], ["O", "B"]]),
    ],
)  # fmt: skip
def test_columns_as_people_bring_them(tmp_path, content, words, tags):
    path = written(tmp_path, "a.conll", content)
    found = read_columns(path)
    assert [list(s.words) for s in found] == words and [list(s.tags) for s in found] == tags
    assert [list(s.words) for s in column_sentences(path)] == words


def test_columns_that_are_empty_at_the_end_of_some_lines(tmp_path):
    for content in ("a\tB\t\nb\tO\tx\n", "a\tB\tx\nb\tO\t\n"):
        (found,) = read_columns(written(tmp_path, "a.tsv", content), 1)
        assert (found.words, found.tags) == (("a", "b"), ("B", "O"))


def test_choices(tmp_path):
    good = {"question": "2 + 2?", "choices": ["3", "4"], "answer": 1}
    path = written(tmp_path, "c.jsonl", json.dumps(good))
    assert read_choices(path) == [ChoiceQuestion("2 + 2?", ("3", "4"), 1, 1)]
    assert read_choices(path, label_column=None)[0].answer is None
    for wrong, message in (
        ({"choices": ["3"]}, "line 2: got choices = .*; expected a list of at least two texts"),
        ({"answer": 2}, "line 2: got answer = 2; expected the right one, 0 to 1"),
        ({"answer": True}, "got answer = True"),
        ({"question": None}, "got question = None; expected a text"),
    ):
        lines = json.dumps(good) + "\n" + json.dumps(good | wrong)
        with pytest.raises(UserError, match=message):
            read_choices(written(tmp_path, "c.jsonl", lines))


@shared
def test_the_shared_files():
    table = read_table(SHARED / "sick" / "sick_e_train.tsv", ["a", "b", "label"])
    assert len(table) == 4500
    assert label_names(table.columns["label"]) == ("CONTRADICTION", "ENTAILMENT", "NEUTRAL")
    questions = read_squad(SHARED / "squad" / "dev-v1.1.rebuilt.json")
    assert len(questions) == 10570
    placed = place_answers(questions)
    assert placed.questions == questions and placing_remarks({"dev": placed}) == []
    impossible = [
        q for q in read_squad(SHARED / "squad" / "dev-v2.0.rebuilt.json") if not q.answers
    ]
    assert len(impossible) == 5945
    assert [len(read_columns(SHARED / "wnut17" / f"{part}.conll")) for part in
            ("train", "dev", "test")] == [3394, 1009, 1287]  # fmt: skip
    sentences = read_conllu(SHARED / "ud" / "en_atis-ud-train.conllu")
    assert len(sentences) == 4274 and sum(len(s.words) for s in sentences) == 48655
