import pytest

from bert_jax.errors import UserError
from bert_jax.tasks.question_answering.squad_files import read_tfds_questions
from bert_jax.tasks.tagged_files import read_tfds_tags
from bert_jax.tasks.tfds import read_tfds_table

tfds = pytest.importorskip("tensorflow_datasets")


def test_by_name():
    with tfds.testing.mock_data(num_examples=3):
        table = read_tfds_table("glue/mrpc", "train")
        assert set(table.column("label", "label_column")) <= {"not_equivalent", "equivalent"}
        assert all(isinstance(text, str) for text in table.texts("sentence1", "text_column"))
        assert isinstance(read_tfds_table("glue/stsb", "train").columns["label"][0], float)
        questions = read_tfds_questions("squad/v2.0", "validation")
        assert len(questions) == 3 and isinstance(questions[0].answers[0].start, int)
        sentences = read_tfds_tags("conll2003", "train", "tokens", "ner")
        assert all(tag[:2] in ("O", "B-", "I-") for s in sentences for tag in s.tags)


def test_unknown_names():
    with pytest.raises(UserError, match=r"got tfds:glue/nothing, which TFDS .* does not know"):
        read_tfds_table("glue/nothing", "train")
