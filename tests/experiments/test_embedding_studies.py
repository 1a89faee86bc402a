"""The three studies of the token table, end to end on a small text, and their flags wrong once."""

import json
import random
import shutil
import xml.etree.ElementTree as ElementTree

import pytest

from bert_jax.bucket import Prefix
from bert_jax.file_digests import write_sealed
from tests.buckets.servers import BUCKET, gcs_server
from tests.experiments.runs import run_each

WORDS = [first + vowel + last for first in "bdfgklmnprst" for vowel in "aeiou" for last in "nts"]
TINY = ("--batch_size=4", "--length=16")
AUDIT = (*TINY, "--vocab_size=200", "--steps=3", "--audit_every=2")
VOCABULARY = (*TINY, "--layers=1", "--width=64", "--teraflops=0.0001", "--eval_batches=2")
ABLATION = (
    *TINY, "--vocab_size=200", "--layers=1", "--width=64", "--steps=2", "--eval_batches=2",
    "--probe_batches=8",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Holds `text.docs.txt`, 160 documents of made-up sentences, and others that are no good."""
    folder, draw = tmp_path_factory.mktemp("studies"), random.Random(0)
    documents = [
        "\n".join(" ".join(draw.choices(WORDS, k=draw.randint(5, 9))) + "." for _ in range(6))
        for _ in range(160)
    ]
    (folder / "text.docs.txt").write_text("\n\n".join(documents) + "\n")
    (folder / "one.txt").write_text("One document. It has a few sentences. No more than that.")
    (folder / "corpus").mkdir()
    (folder / "corpus" / "corpus.json").write_text("{}")
    return folder


def assert_goes_on(experiment, line, workdir, missing=()):
    """In a bucket that holds what a run that was killed there had sent: to the same result.

    And that it does not where the text is no longer what the finished runs were made from.
    """
    folder, there = workdir.parent, Prefix(f"gs://{BUCKET}/{workdir.name}")
    for path in workdir.rglob("*"):
        name = path.relative_to(workdir).as_posix()
        if path.is_file() and name != "result.json" and not name.startswith(tuple(missing)):
            there.put(path, name)
    changed = shutil.copytree(workdir, folder / f"{workdir.name} changed")
    seen = json.loads((changed / "contents.json").read_text())["corpus"]
    write_sealed(changed / "contents.json", {"corpus": dict.fromkeys(seen, "other")})
    gone_on, refused = run_each(
        experiment, [[*line, f"--workdir={there.url}"], [*line, f"--workdir={changed}"]], folder
    )
    assert gone_on.status == 0 and "buckets/" not in gone_on.printed + gone_on.errors, gone_on
    contents = there.read("result.json"), (workdir / "result.json").read_bytes()
    results = [json.loads(each) for each in contents]
    for row in results[0]["rows"] + results[1]["rows"]:
        row.pop("seconds", None)
    assert results[0] == results[1]
    here = {each.relative_to(workdir).as_posix() for each in workdir.rglob("*") if each.is_file()}
    assert set(there.objects()) == here
    assert refused.status == 2
    said = [line for line in refused.errors.splitlines() if "elapsed" not in line]
    assert len(said) == 1 and f"got --corpus, whose {', '.join(seen)} changed since" in said[0]


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    """An empty one; and an empty cache of compiled programs and of copies."""
    with gcs_server() as (environment, _):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield


def finished(outcomes):
    for outcome in outcomes:
        assert outcome.status == 0, outcome.errors


def test_the_audit_of_ten_runs(folder, bucket):
    line = ["--workdir=audit", "--corpus=text.docs.txt", *AUDIT]
    finished(run_each("audit_updates", [line], folder))
    rows = json.loads((folder / "audit" / "result.json").read_text())["rows"]
    rows = {(row["decoder"], row["optimizer"]): row for row in rows}
    assert len(rows) == 10
    for (decoder, optimizer), row in rows.items():
        stays = decoder == "untied" and optimizer in ("SGD", "row-lazy AdamW")
        assert (row["absent_changed"] == 0) == stays
        assert row["changed"] == pytest.approx(row["in_batch"] + row["absent_changed"])
        causes = row["by_decoder"] + row["by_momentum"] + row["by_decay"]
        assert causes == pytest.approx(row["absent_changed"])
    assert rows["untied", "Adam"]["by_decay"] == 0 < rows["untied", "AdamW"]["by_decay"]
    assert rows["tied", "AdamW"]["rows_changed"] == 1
    for name in ("coverage", "frequency"):
        ElementTree.parse(folder / "audit" / f"{name}.svg")
    assert_goes_on("audit_updates", line, folder / "audit")


def test_a_vocabulary_more_repeats_nothing(folder, bucket):
    line = ["--workdir=vocabulary", "--corpus=text.docs.txt", *VOCABULARY]
    outcomes = run_each("vocabulary_study", [[*line, "--sizes=60"]], folder)
    first = (folder / "vocabulary" / "60" / "result.json").stat().st_mtime_ns
    outcomes += run_each("vocabulary_study", [[*line, "--sizes=60,50"]], folder)
    finished(outcomes)
    assert (folder / "vocabulary" / "60" / "result.json").stat().st_mtime_ns == first
    large, small = json.loads((folder / "vocabulary" / "result.json").read_text())["rows"]
    assert (large["vocab_size"], small["vocab_size"]) == (60, 50)
    assert large["steps"] <= small["steps"]
    assert 1 <= large["fertility"] < small["fertility"]
    assert large["characters_per_piece"] > small["characters_per_piece"]
    assert small["unknown_share"] == 0
    for row in (large, small):
        low, high = row["bits_interval"]
        assert 0 < low < row["bits_per_character"] < high
        assert 0 <= row["updates_5th_percentile"] <= row["updates_median"] <= row["steps"]
    ElementTree.parse(folder / "vocabulary" / "vocabulary_study.svg")
    assert "60" in outcomes[-1].printed and "50" in outcomes[-1].printed
    line = [*line, "--sizes=60,50"]
    assert_goes_on("vocabulary_study", line, folder / "vocabulary", missing=["50/"])


def test_ten_ablations(folder, bucket):
    line = ["--workdir=ablations", "--corpus=text.docs.txt", *ABLATION]
    finished(run_each("ablate_embeddings", [line], folder))
    rows = json.loads((folder / "ablations" / "result.json").read_text())["rows"]
    assert len({(row["part"], row["way"]) for row in rows}) == 10
    assert "</svg>" in (folder / "ablations" / "ablations.svg").read_text()
    for row in rows:
        for name in ("nsp", "order", "segment"):
            low, high = row[f"{name}_interval"]
            # To 12 digits: of all hits the interval ends at 1 but for rounding.
            bounds = (0, low, row[f"{name}_accuracy"], high, 1)
            assert [round(x, 12) for x in bounds] == sorted(round(x, 12) for x in bounds)
        assert row["probe_trials"] > 0
    assert_goes_on("ablate_embeddings", line, folder / "ablations")


WRONG = {
    "audit_updates": {
        "--corpus=nowhere.txt": "got input 'nowhere.txt', where there is no file",
        "--corpus=one.txt": "got 1 document, all in one split",
        "--vocab=nowhere.txt": "got vocabulary 'nowhere.txt', which cannot be read",
        "--vocab_size=7": "got vocabulary size 7; expected at least",
        "--model=huge": "flag --model=huge: value should be one of <tiny|mini|small>",
        "--steps=0": "flag --steps=0",
        "--batch_size=0": "flag --batch_size=0",
        "--length=4": "flag --length=4",
        "--length=513": "got --length=513; expected at most 512, the model's positions",
        "--weight_decay=-1": "flag --weight_decay=-1",
        "--audit_every=0": "flag --audit_every=0",
        "--seed=-1": "flag --seed=-1",
        "--workdir=one.txt/run": "got --workdir=one.txt/run, which cannot be written",
    },
    "vocabulary_study": {
        "--corpus=nowhere.txt": "got input 'nowhere.txt', where there is no file",
        "--corpus=one.txt": "got 1 document, all in one split",
        "--corpus=corpus": "got --corpus=corpus, which is tokenised already; expected text",
        "--sizes=": "got --sizes=; expected whole numbers of at least 1 and at most",
        "--sizes=50,big": "got --sizes=50,big; expected whole numbers of at least 1 and at most",
        "--sizes=50,50": "got --sizes=50,50; expected whole numbers of at least 1 and at most",
        "--sizes=7": "got vocabulary size 7; expected at least",
        "--teraflops=-1": "flag --teraflops=-1",
        "--teraflops=1e-9": "got --teraflops=1e-09; expected at least",
        "--layers=0": "flag --layers=0",
        "--width=100": "got --width=100; expected a multiple of 64, the head width",
        "--width=0": "flag --width=0",
        "--batch_size=0": "flag --batch_size=0",
        "--length=15": "flag --length=15",
        "--learning_rate=-1": "flag --learning_rate=-1",
        "--eval_batches=1": "flag --eval_batches=1",
        "--seed=-1": "flag --seed=-1",
        "--workdir=one.txt/run": "got --workdir=one.txt/run, which cannot be written",
    },
    "ablate_embeddings": {
        "--corpus=nowhere.txt": "got input 'nowhere.txt', where there is no file",
        "--corpus=one.txt": "got 1 document, all in one split",
        "--vocab_size=7": "got vocabulary size 7; expected at least",
        "--layers=0": "flag --layers=0",
        "--width=100": "got --width=100; expected a multiple of 64, the head width",
        "--steps=0": "flag --steps=0",
        "--batch_size=0": "flag --batch_size=0",
        "--length=15": "flag --length=15",
        "--learning_rate=-1": "flag --learning_rate=-1",
        "--eval_batches=1": "flag --eval_batches=1",
        "--probe_batches=0": "flag --probe_batches=0",
        "--seeds=": "got --seeds=; expected whole numbers of at least 0 and at most",
        "--seeds=0,x": "got --seeds=0,x; expected whole numbers of at least 0",
        "--seeds=0,0": "got --seeds=0,0; expected whole numbers of at least 0",
        "--workdir=one.txt/run": "got --workdir=one.txt/run, which cannot be written",
    },
}
USUAL = {
    "audit_updates": AUDIT,
    "vocabulary_study": (*VOCABULARY, "--sizes=50"),
    "ablate_embeddings": ABLATION,
}


@pytest.mark.parametrize("experiment", WRONG)
def test_a_mistake_is_one_line_and_nothing_half_written_stays(folder, experiment):
    lines = []
    for number, wrong in enumerate(WRONG[experiment]):
        usual = (f"--workdir={experiment}{number}", "--corpus=text.docs.txt", *USUAL[experiment])
        name = wrong.split("=")[0]
        lines.append([*(flag for flag in usual if flag.split("=")[0] != name), wrong])
    outcomes = run_each(experiment, lines, folder)
    for number, (wrong, outcome) in enumerate(zip(WRONG[experiment], outcomes, strict=True)):
        assert outcome.status == 2, wrong
        said = [line for line in outcome.errors.splitlines() if "elapsed" not in line]
        assert len(said) == 1 and said[0].startswith(f"experiments.{experiment}: "), wrong
        assert WRONG[experiment][wrong] in said[0]
        assert not (folder / f"{experiment}{number}").exists(), wrong
