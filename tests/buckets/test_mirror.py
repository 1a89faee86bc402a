"""Copies of what buckets hold, and what is sent there: whole, in order, or said in one line."""

import shutil

import pytest

from bert_jax.bucket import Prefix
from bert_jax.config import BertConfig
from bert_jax.data.corpus import Corpus
from bert_jax.errors import PlaceAwayError, UserError
from bert_jax.mirror import Mirror, at_hand
from bert_jax.model.bert import BertForMaskedLM
from bert_jax.tables.storage import load_tables
from bert_jax.text.tokenizer import Tokenizer


def files(folder):
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): path.read_text() for path in found}


def fill(folder, contents):
    for name, text in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


RUN = {
    "config.json": "{}",
    "metrics.jsonl": "one\n",
    "corpus/arrays/train.npy": "12",
    "checkpoints/10/state/d/0": "ten",
}


def test_a_folder_is_sent_and_found_again(bucket, new_machine):
    run = Mirror(f"{bucket}/runs/mine")
    fill(run.fetch(), RUN)
    run.publish()
    assert set(Prefix(f"{bucket}/runs/mine").objects()) == set(RUN)
    new_machine("other")
    assert files(Mirror(f"{bucket}/runs/mine").fetch()) == RUN
    assert files(at_hand(f"{bucket}/runs/mine")) == RUN
    new_machine("third")
    assert files(at_hand(f"{bucket}/runs/mine", leave=["corpus"])) == {
        name: text for name, text in RUN.items() if not name.startswith("corpus/")
    }
    assert at_hand(f"{bucket}/runs/mine/config.json").read_text() == "{}"


def test_only_what_changed_is_sent_and_what_has_gone_goes(gcs, monkeypatch):
    run = Mirror("gs://bucket-one/run")
    fill(run.fetch(), RUN)
    run.publish()
    sent = []
    put = Prefix.put
    monkeypatch.setattr(Prefix, "put", lambda *given: (sent.append(given[2]), put(*given)))
    run.publish()
    assert sent == []
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write("two\n")
    shutil.rmtree(run.folder / "checkpoints/10")
    fill(run.folder, {"checkpoints/20/state/d/0": "twenty", "result.json": "{}"})
    run.publish()
    assert sent == ["metrics.jsonl", "checkpoints/20/state/d/0", "result.json"]  # in this order
    assert set(Prefix(run.url).objects()) == {
        *("config.json", "metrics.jsonl", "corpus/arrays/train.npy", "result.json"),
        "checkpoints/20/state/d/0",
    }


@pytest.mark.parametrize("cut", range(12))
def test_a_bucket_cut_off_at_any_request_holds_what_a_killed_run_leaves(gcs, monkeypatch, cut):
    """The checkpoint that is being sent is not there; the one before is, until the new one is."""
    run = Mirror("gs://bucket-one/run")
    fill(run.fetch(), RUN)
    run.publish()
    fill(run.folder, {"checkpoints/20/a": "1", "checkpoints/20/b/c": "2", "result.json": "{}"})
    fill(run.folder, {"metrics.jsonl": "one\ntwo\n"})
    shutil.rmtree(run.folder / "checkpoints/10")
    left = iter(range(cut))
    with monkeypatch.context() as cutting:
        for name in ("put", "write", "delete"):
            done = getattr(Prefix, name)

            def do(*given, done=done):
                if next(left, None) is None:
                    raise PlaceAwayError("cut off")
                return done(*given)

            cutting.setattr(Prefix, name, do)
        try:
            run.publish()
            whole = True
        except PlaceAwayError:
            whole = False
    there = files(Mirror("gs://bucket-one/run").fetch())
    steps = {name.split("/")[1] for name in there if name.startswith("checkpoints/")}
    assert steps <= {"10", "20"} and (steps or whole is False)
    if "20" in steps:
        assert (there["checkpoints/20/a"], there["checkpoints/20/b/c"]) == ("1", "2")
        assert there["metrics.jsonl"] == "one\ntwo\n"
    if "10" in steps:
        assert there["checkpoints/10/state/d/0"] == "ten"
    assert "result.json" not in there or "20" in steps


def test_a_copy_follows_its_bucket(bucket):
    there = Prefix(f"{bucket}/texts")
    for name in ("one.txt", "two.txt"):
        there.write(name, name.encode())
    copy = at_hand(f"{bucket}/texts")
    assert files(copy) == {"one.txt": "one.txt", "two.txt": "two.txt"}
    there.write("one.txt", b"changed")
    there.delete("two.txt")
    assert files(at_hand(f"{bucket}/texts")) == {"one.txt": "changed"}


@pytest.mark.parametrize("end", [b"\r", b"\r\n", b"\n", b"\n--==0==--", b"\0"])
def test_bytes_arrive_as_they_are(bucket, tmp_path, end):
    """Not as lines of a message, whose last one may be taken for its end."""
    there = Prefix(f"{bucket}/bytes", patience=5)
    for content in (end, b"\x0c\xdb" + end + b"1" + end):
        (tmp_path / "sent").write_bytes(content)
        there.put(tmp_path / "sent", "sent")
        there.get("sent", tmp_path / "got")
        assert (tmp_path / "got").read_bytes() == there.read("sent") == content


def test_a_path_is_itself(tmp_path):
    assert at_hand(tmp_path / "nothing") == tmp_path / "nothing"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("gs://bucket-one/none", "which does not exist"),
        ("gs://no-such-bucket/run", "there is no such bucket"),
        ("hdfs://host/run", "expected a path, or a bucket's: gs://BUCKET/… or s3://BUCKET/…"),
        ("gs://", "which names no bucket"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(gcs, url, expected):
    with pytest.raises(UserError) as raised:
        at_hand(url)
    assert expected in str(raised.value) and "\n" not in str(raised.value)


def _tokenizer(url):
    return Tokenizer.from_file(f"{url}/vocab.txt")


@pytest.mark.parametrize(
    ("opened", "files"),
    [
        (Corpus.open, {"corpus.json": "{}"}),
        (load_tables, {"config.json": "[]", "model.safetensors": "no"}),
        (BertForMaskedLM.from_pretrained, {"config.json": "{", "model.safetensors": "no"}),
        (_tokenizer, {"vocab.txt": "one\ntwo\n"}),
        (lambda url: BertConfig.from_json(f"{url}/config.json"), {"config.json": "[]"}),
    ],
)
def test_what_is_wrong_is_called_by_its_url(gcs, opened, files):
    there = Prefix("gs://bucket-one/mine")
    for name, text in files.items():
        there.write(name, text.encode())
    with pytest.raises(UserError) as raised:
        opened(there.url)
    assert there.url in str(raised.value) and "buckets/" not in str(raised.value)


def test_without_credentials_it_is_said(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UserError, match="no credentials"):
        at_hand("s3://bucket-one/run")


def test_a_busy_server_is_asked_again(gcs):
    gcs.busy_every = 5
    run = Mirror("gs://bucket-one/run")
    fill(run.fetch(), RUN)
    run.publish()
    assert files(at_hand("gs://bucket-one/run")) == RUN


def test_a_server_that_is_away_for_too_long_is_said(gcs, monkeypatch):
    import gcsfs.retry

    asleep = gcsfs.retry.asyncio.sleep
    monkeypatch.setattr(gcsfs.retry.asyncio, "sleep", lambda seconds: asleep(seconds / 100))
    gcs.away = True
    with pytest.raises(PlaceAwayError, match="no answer for 1 s"):
        Prefix("gs://bucket-one/run", patience=1).read("x")
