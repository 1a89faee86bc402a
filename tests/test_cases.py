"""Every file of ../shared/data/cases, read from there: small inputs that people really bring."""

from pathlib import Path

import pytest

from bert_jax.data.sentences import split_sentences
from bert_jax.data.sources import open_source
from bert_jax.errors import UserError
from bert_jax.tasks.classification import Classification
from bert_jax.tasks.data import DataSettings, read_task
from bert_jax.tasks.entities import tag_scheme
from bert_jax.tasks.question_answering.placing import place_answers
from bert_jax.tasks.question_answering.squad import Answer
from bert_jax.tasks.question_answering.squad_files import read_squad
from bert_jax.tasks.tables import read_table
from bert_jax.tasks.tagged_files import read_columns
from bert_jax.tasks.unlabelled import read_unlabelled

CASES = Path(__file__).parents[2] / "shared" / "data" / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="../shared/data is not here")


def documents(path):
    return [document.whole_text for document in open_source([str(path)])]


def two_without(path, mark):
    found = documents(path)
    return len(found) == 2 and mark not in "".join(found)


def sentences(path):
    return [len(split_sentences(line)) for line in path.read_text().splitlines()]


def tagged(path):
    return [(s.words, s.tags) for s in read_columns(path)]


def task_of(path, **options):
    return read_task(DataSettings(task="classification", train=str(path), dev=str(path), **options))


def refused(read, *said):
    def check(path):
        with pytest.raises(UserError) as error:
            read(path)
        assert "\n" not in str(error.value)
        return all(words in str(error.value) for words in said)

    return check


def left_out(path):
    data = task_of(path, leave_out_labels=("-",))
    assert data.remarks[0].figures["left_out"]["train"] == {"-": 1}
    return data.task.labels == ("contradiction", "entailment", "neutral")


def lines_with_numbers(path):
    task = Classification(("bad", "good"), 16)
    found = read_unlabelled(task, str(path), None, None)
    return [(line.number, line.texts) for line in found] == [
        (1, ("a moving film",)), (3, ("a dull film",)),
    ]  # fmt: skip


WHERE = "article 1, paragraph 1, question 1: got "
RIGHT = {
    "books_lowercase.txt": lambda path: len(split_sentences(documents(path)[0])) == 4,
    "c4.00000-of-00002.json": lambda path: two_without(path, "{"),
    "labels_empty.csv": refused(task_of, "line ", "got label ''"),
    "long_field.csv": lambda path: len(read_table(path).lines) == 2,
    "multiconer.conll": lambda path: (
        tagged(path) == [(("Paris", "is"), ("B-LOC", "O")), (("he",), ("O",))]
    ),
    "nbsp_word.conll": lambda path: tagged(path) == [(("10\u00a0000", "Euro"), ("O", "O"))],
    "openers.txt": lambda path: sentences(path) == [4, 3, 3],
    "predict_blank_line.txt": lines_with_numbers,
    "shards": lambda path: len(documents(path)) == 2,
    "snli_dash.jsonl": left_out,
    "squad_answer_number.json": refused(read_squad, WHERE),
    "squad_combining.json": lambda path: (
        place_answers(read_squad(path)).questions[0].answers == (Answer("Peru\u0301", 15),)
    ),
    "squad_context_null.json": refused(read_squad, WHERE),
    "squad_data_null.json": refused(read_squad, "which is not a SQuAD file"),
    "squad_qa_not_object.json": refused(read_squad, WHERE),
    "squad_start_text.json": refused(read_squad, WHERE),
    "surrogate.jsonl": lambda path: len(documents(path)) == 3,
    "untyped_bio.tsv": lambda path: (
        str(tag_scheme(tag for _, tags in tagged(path) for tag in tags)) == "BIO without kinds"
    ),
    "wiki": lambda path: two_without(path, "<"),
}  # fmt: skip


def test_every_case_is_here():
    assert {path.name for path in CASES.iterdir()} - {"README.md"} == RIGHT.keys()


@pytest.mark.parametrize("name", RIGHT)
def test_it_is_right(name):
    assert RIGHT[name](CASES / name)
