"""A URL is a bucket's, or it is refused at once: nothing is ever made in a folder named `gs:`."""

from pathlib import Path

import pytest

from bert_jax.arguments import is_url, path_like
from bert_jax.errors import UserError
from tests.experiments.runs import run_each

CASES = {
    "pretrain": ["--workdir=hdfs://h/run", "--workdir=r --corpus=a.txt,https://h/b.txt"],
    "build_corpus": ["--input=a.txt --data_dir=file:///corpus", "--input=x --data_dir=gs://"],
    "learn_vocab": ["--input=hdfs://host/a.txt --output=v.txt"],
    "finetune": ["--train=https://host/a.tsv --workdir=r"],
    "predict": ["--checkpoint=m --input=a.txt --output=abfs://bucket/out.jsonl"],
    "convert": ["--from=https://bucket/run --to=out", "--from=m --to=s3:/"],
    "inspect_embeddings": ["--checkpoint=m --workdir=file:/report"],
    "audit_updates": ["--workdir=hdfs://h/audit"],
    "vocabulary_study": ["--workdir=gs:///study"],
    "ablate_embeddings": ["--corpus=https://h/a.txt --workdir=r"],
}


@pytest.mark.parametrize("command", CASES)
def test_a_url_of_no_bucket_is_refused_before_anything_is_made(command, tmp_path):
    cases = [line.split() for line in CASES[command]]
    for done in run_each(command, cases, tmp_path):
        assert done.status == 2 and done.errors.count("\n") == 1, done
        assert "got --" in done.errors
        assert "expected a path, or a bucket's: gs://BUCKET/… or s3://BUCKET/…" in done.errors
    assert list(tmp_path.iterdir()) == []


def test_which_urls_are_of_buckets():
    for path in ("gs://bucket/run", Path("gs://bucket/run"), "s3://b", "runs/a"):
        assert path_like("workdir", path) == path
    for path in ("https://h/x", "file:///a", Path("hdfs://h"), "gs://", "s3:/", "gs:///b"):
        with pytest.raises(UserError, match=r"^got workdir=.*expected a path, or a bucket's"):
            path_like("workdir", path)


def test_which_names_are_urls():
    assert all(map(is_url, ("gs://b/c", "s3://b", "file:///a", "https://h/x", Path("gs://b"))))
    assert not any(map(is_url, ("runs/a", "tfds:glue/cola:train", "C:/run", "OWNER/NAME@rev", "")))
