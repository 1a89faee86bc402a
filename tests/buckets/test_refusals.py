"""What a bucket refuses, through commands: one line, the status, and nothing half-written."""

import json
import os
import subprocess
import sys

import pytest

from bert_jax import bucket as bucket_module
from bert_jax.bucket import Prefix
from bert_jax.errors import PlaceAwayError, UserError
from tests.buckets.servers import BUCKET
from tests.faults.runs import REPOSITORY, command, finish, start, write_model, write_text

# By the name of a bucket: what is refused, how, and what is said of it.
REFUSED = {
    "not-to-be-seen": ("GET POST PUT", 403, "forbidden", "cannot be"),
    "not-to-be-written": (
        "POST PUT",
        403,
        "forbidden",
        "cannot be written (Forbidden: It is forbidden.)",
    ),
    "with-no-login": ("GET POST PUT", 401, "required", "no credentials: "),
    "with-a-full-quota": ("POST PUT", 403, "quotaExceeded", "(Forbidden: It is quotaExceeded.)"),
    "with-another-full-quota": ("POST PUT", 429, "quotaExceeded", "its quota is full: "),
    "on-a-full-disk": ("POST PUT", 507, "full", "its quota is full: "),
    "that-is-away": ("GET POST PUT", 0, "", ": no answer for 0 s ("),
    "that-is-none": ("", 0, "", "there is no such bucket"),
}

# All cases of a command in one process, since importing jax takes seconds; servers are asked again
# at once, and given up.
_ALL_CASES = """
import asyncio, contextlib, importlib, io, json, sys
from absl.testing import flagsaver
from bert_jax.bucket import Prefix
from bert_jax.cli import command
asleep = asyncio.sleep
asyncio.sleep = lambda seconds: asleep(min(seconds, 0.01))
Prefix.__init__.__kwdefaults__["patience"] = 0.0
name, cases = json.load(sys.stdin)
experiment, outcomes = importlib.import_module(f"experiments.{name}"), []
for arguments in cases:
    sys.argv, errors, status = [f"{name}.py", *arguments], io.StringIO(), 0
    with flagsaver.flagsaver(), contextlib.redirect_stderr(errors):
        try:
            command.run(experiment.main)
        except SystemExit as stopped:
            status = stopped.code
    outcomes.append([status, errors.getvalue()])
print(json.dumps(outcomes))
"""


@pytest.mark.parametrize(
    ("name", "flag"),
    [("pretrain", "--workdir"), ("build_corpus", "--data_dir"), ("learn_vocab", "--output")],
)
def test_a_bucket_that_refuses_is_one_line(gcs, tmp_path, name, flag):
    text = write_text(tmp_path)
    usual = {
        "pretrain": command("", text, write_model(tmp_path))[4:],
        "build_corpus": [f"--input={text}", "--vocab_size=64"],
        "learn_vocab": [f"--input={text}", "--vocab_size=64"],
    }[name]
    before = set(tmp_path.iterdir())
    import gcsfs

    for bucket in REFUSED.keys() - {"that-is-none"}:
        gcsfs.GCSFileSystem().mkdir(bucket)
    gcs.refused = {bucket: row[:3] for bucket, row in REFUSED.items()}
    cases = [[*usual, f"{flag}=gs://{bucket}/mine"] for bucket in REFUSED]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _ALL_CASES], input=json.dumps([name, cases]),
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout.splitlines()[-1])
    for (bucket, row), (status, errors) in zip(REFUSED.items(), outcomes, strict=True):
        assert status == (1 if bucket == "that-is-away" else 2), (bucket, errors)
        assert errors.count("\n") == 1 and row[3] in errors and f"gs://{bucket}/" in errors, errors
    assert set(tmp_path.iterdir()) - {tmp_path / "cache"} == before
    gcs.refused = {}
    for bucket in REFUSED.keys() - {"that-is-none"}:
        assert Prefix(f"gs://{bucket}").objects() == {}


def test_a_quota_that_is_full_in_the_middle_ends_a_run_that_goes_on_when_it_is_not(gcs, tmp_path):
    line = command(f"gs://{BUCKET}/run", write_text(tmp_path), write_model(tmp_path), steps=60)
    line += ["--checkpoint_every=20", "--eval_every=0"]
    gcs.full_after = 130  # while the second checkpoint is sent
    *lines, last = finish(start(line), 2).splitlines()
    assert not any("Traceback" in each for each in lines)
    assert last.startswith("experiments.pretrain: got gs://bucket-one/run/") and "quota" in last
    assert "result.json" not in Prefix(f"gs://{BUCKET}/run").objects()
    gcs.full_after = None
    assert f"continuing gs://{BUCKET}/run from step 20" in finish(start(line))
    assert "result.json" in Prefix(f"gs://{BUCKET}/run").objects()


def answered(code, status):
    """What s3fs makes of an answer of Amazon's servers, and of those that speak as they do."""
    from botocore.exceptions import ClientError
    from s3fs.errors import translate_boto_error

    return translate_boto_error(
        ClientError(
            {
                "Error": {"Code": code, "Message": "Words."},
                "ResponseMetadata": {"HTTPStatusCode": status},
            },
            "PutObject",
        )
    )


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("AccessDenied", 403, "(Words.)"),
        ("InvalidArgument", 400, "Words.)"),
        ("QuotaExceeded", 403, "(its quota is full: "),
        ("XMinioAdminBucketQuotaExceeded", 400, "(its quota is full: "),
        ("InsufficientStorage", 507, "(its quota is full: "),
        ("SlowDown", 503, None),
        ("RequestTimeout", 400, None),
        ("OperationAborted", 409, None),
        ("InternalError", 500, None),
        ("Unheard", 502, None),
    ],
)
def test_which_answers_are_refusals(s3, monkeypatch, code, status, said):
    import s3fs

    async def cat_file(*_, **__):
        raise answered(code, status)

    monkeypatch.setattr(s3fs.S3FileSystem, "_cat_file", cat_file)
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(UserError) as raised:
        Prefix("s3://bucket-one/run", patience=0).read("x")
    assert isinstance(raised.value, PlaceAwayError) == (said is None)
    assert (said or "no answer for 0 s") in str(raised.value)


def test_settings_that_cannot_be_are_refused_at_once(s3, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    monkeypatch.setattr(bucket_module, "PATIENCE", 0)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(UserError, match=r"The config profile \(nobody\) could not be found") as r:
        Prefix("s3://bucket-one/run").objects()
    assert not r.value.passing
