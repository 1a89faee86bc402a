"""Class names in a config.json: as transformers writes them, and as people do."""

import json

import pytest

from bert_jax.convert.class_names import class_names
from bert_jax.convert.huggingface import save_huggingface
from bert_jax.convert.ours import save_ours
from bert_jax.convert.pretrained import load_pretrained
from tests.convert import models

THREE = ("no", "perhaps", "yes")
LABELLED = {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}
BY_NAME = {"no": 0, "perhaps": 1, "yes": 2}


@pytest.mark.parametrize(
    ("content", "names", "notes"),
    [
        ({}, (), []),
        ({"id2label": None, "label2id": None}, (), []),
        ({"id2label": LABELLED, "label2id": {v: int(k) for k, v in LABELLED.items()}}, (), []),
        ({"id2label": {"0": "no", "1": "perhaps", "2": "yes"}, "label2id": BY_NAME}, THREE, []),
        ({"id2label": {"2": "yes", "0": "no", "1": "perhaps"}}, THREE, []),
        ({"id2label": {0: "no", 1: "perhaps", 2: "yes"}}, THREE, []),
        ({"id2label": list(THREE)}, THREE, []),
        ({"id2label": {"LABEL_A": "no", "LABEL_B": "perhaps", "LABEL_C": "yes"}}, THREE,
         ["id2label has the keys LABEL_A, LABEL_B, LABEL_C instead of 0 to 2: its names are taken "
          "in the order they stand in, no, perhaps, yes"]),
        ({"id2label": {"LABEL_A": "yes", "LABEL_B": "no", "LABEL_C": "perhaps"},
          "label2id": BY_NAME}, THREE,
         ["id2label has the keys LABEL_A, LABEL_B, LABEL_C and no numbers: label2id orders its "
          "names"]),
        ({"id2label": {"yes": 2, "no": 0, "perhaps": 1}}, THREE,
         ["id2label has names (yes, no, perhaps) where numbers belong: read as label2id"]),
        ({"id2label": LABELLED, "label2id": BY_NAME}, THREE,
         ["the classes are called as in label2id: id2label has none"]),
        ({"label2id": BY_NAME}, THREE,
         ["the classes are called as in label2id: id2label has none"]),
        ({"id2label": list(THREE), "label2id": {"yes": 0, "perhaps": 1, "no": 2}}, THREE,
         ["label2id (yes, perhaps, no) contradicts id2label (no, perhaps, yes), which is "
          "followed"]),
        ({"id2label": {"0": "a", "1": "b", "2": "a"}}, ("a (0)", "b", "a (2)"),
         ["several classes are called a; here they are a (0), b, a (2)"]),
        ({"id2label": {"0": "a", "1": "b"}}, (),
         ["config.json names 2 classes (a, b) of a classifier with 3 scores: left out"]),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, (), []),
        (
            {"id2label": "no"},
            (),
            ["id2label = 'no' of config.json is not a list of names: left out"],
        ),
    ],
)  # fmt: skip
def test_names_and_what_is_said_of_them(content, names, notes):
    assert class_names(content, 3) == (names, tuple(notes))


def test_a_list_of_names_is_read_from_a_directory_and_written_as_transformers_does(tmp_path):
    path = tmp_path / "odd" / "config.json"
    save_huggingface(models.pretrained("BertForSequenceClassification"), path.parent)
    content = json.loads(path.read_text()) | {"id2label": list(THREE), "classifier_dropout": 0.25}
    path.write_text(json.dumps(content))
    loaded = load_pretrained(path.parent)
    assert loaded.labels == THREE and loaded.config.classifier_dropout == 0.25
    assert loaded.problem_type == "single_label_classification"
    save_ours(loaded, tmp_path / "ours")
    save_huggingface(load_pretrained(tmp_path / "ours"), tmp_path / "again")
    written = json.loads((tmp_path / "again" / "config.json").read_text())
    assert written["id2label"] == {"0": "no", "1": "perhaps", "2": "yes"}
    assert written["label2id"] == BY_NAME and written["classifier_dropout"] == 0.25
    assert written["problem_type"] == "single_label_classification"


def test_the_problem_type_is_kept_whatever_it_is(tmp_path):
    path = tmp_path / "odd" / "config.json"
    save_huggingface(models.pretrained("BertForSequenceClassification"), path.parent)
    content = json.loads(path.read_text()) | {"problem_type": "multi_label_classification"}
    path.write_text(json.dumps(content))
    save_ours(load_pretrained(path.parent), tmp_path / "ours")
    save_huggingface(load_pretrained(tmp_path / "ours"), tmp_path / "again")
    written = json.loads((tmp_path / "again" / "config.json").read_text())
    assert written["problem_type"] == "multi_label_classification"
