"""A bucket is not a folder: until places other than disks are read, a URL is refused at once."""

from pathlib import Path

import pytest

from bert_jax.arguments import NOT_HERE, is_url
from bert_jax.errors import UserError
from bert_jax.training.workdir import prepared_workdir
from tests.experiments.runs import run_each

CASES = {
    "pretrain": ["--workdir=gs://bucket/run", "--workdir=r --corpus=a.txt,s3://bucket/b.txt"],
    "build_corpus": ["--input=a.txt --data_dir=gs://bucket/corpus"],
    "learn_vocab": ["--input=hdfs://host/a.txt --output=v.txt"],
    "finetune": ["--train=https://host/a.tsv --workdir=r"],
    "predict": ["--checkpoint=m --input=a.txt --output=gs://bucket/out.jsonl"],
    "convert": ["--from=gs://bucket/run --to=out", "--from=m --to=gs:/bucket/out"],
    "inspect_embeddings": ["--checkpoint=m --workdir=gs://bucket/report"],
}


@pytest.mark.parametrize("command", CASES)
def test_a_url_is_refused_before_anything_is_made(command, tmp_path):
    cases = [line.split() for line in CASES[command]]
    for done in run_each(command, cases, tmp_path):
        assert done.status == 2 and done.errors.count("\n") == 1, done
        assert NOT_HERE in done.errors
    assert list(tmp_path.iterdir()) == []


def test_a_url_is_refused_where_it_is_given_as_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("gs://bucket/run", Path("gs://bucket/run")):
        with (
            pytest.raises(UserError, match="no place on this machine"),
            prepared_workdir(path, {}, ()),
        ):
            pass
    assert list(tmp_path.iterdir()) == []


def test_which_names_are_urls():
    assert all(map(is_url, ("gs://b/c", "s3://b", "file:///a", "https://h/x", Path("gs://b"))))
    assert not any(map(is_url, ("runs/a", "tfds:glue/cola:train", "C:/run", "OWNER/NAME@rev", "")))
