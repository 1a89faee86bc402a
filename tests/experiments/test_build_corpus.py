import json
import os
import subprocess
import sys

import pytest

from bert_jax.data.corpus import Corpus
from tests.text.vocabulary import small_tokenizer


def run(*flags, cwd, experiment="build_corpus"):
    command = [sys.executable, "-W", "error", "-m", f"experiments.{experiment}", *flags]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env)


@pytest.fixture
def here(tmp_path):
    small_tokenizer().save(tmp_path / "vocab.txt")
    (tmp_path / "in").mkdir()
    for number in range(30):
        text = f"The cats {number}. He left.\n\nOne day, yes.\n"
        (tmp_path / "in" / f"{number:02}.txt").write_text(text)
    return tmp_path


def test_builds_prints_and_finds_it_again(here):
    flags = ("--input=in", "--vocab=vocab.txt", "--data_dir=out/c", "--workers=2")
    done = run(*flags, cwd=here)
    assert (done.returncode, done.stderr) == (0, "")
    assert "sentences" in done.stdout and "90 (3.0 a document)" in done.stdout
    result = json.loads((here / "out" / "c" / "result.json").read_text())
    assert result["documents"] == 30 and result["sentences"] == 90
    assert result["duplicates"] == 0 and result["unk_rate"] == 0.0
    assert result["pieces"] == 10 * 12 + 20 * 13 and result["seconds"] > 0
    assert result["peak_rss_bytes"] > 10_000_000
    assert set(result["splits"]) == {"train", "heldout"}
    assert Corpus.open(here / "out" / "c").report.documents == 30
    assert [path.name for path in (here / "out").iterdir()] == ["c"]

    again = run(*flags, cwd=here)
    assert again.returncode == 0 and "was built before" in again.stdout
    assert json.loads((here / "out" / "c" / "result.json").read_text()) == result


def test_without_a_vocabulary_one_is_learned(here):
    flags = ("--input=in", "--vocab_size=60", "--data_dir=c", "--workers=1")
    assert run(*flags, cwd=here).returncode == 0
    corpus = Corpus.open(here / "c")
    assert {"the", "cats", "[MASK]"} <= set(corpus.tokenizer.pieces)
    assert corpus.report.unk_rate == 0.0
    assert "was built before" in run(*flags, cwd=here).stdout


def test_beam_makes_the_same_bytes_vocabulary_included(here):
    pytest.importorskip("apache_beam")
    options = "--beam_runner=DirectRunner", "--beam_options=--direct_num_workers=1"
    for data_dir, flags in (("local", ["--workers=1"]), ("beam", options)):
        done = run("--input=in", "--vocab_size=60", f"--data_dir={data_dir}", *flags, cwd=here)
        assert (done.returncode, done.stderr) == (0, "")
        assert "sentences" in done.stdout and "90 (3.0 a document)" in done.stdout
    assert all_bytes(here / "local") == all_bytes(here / "beam")
    result = json.loads((here / "beam" / "result.json").read_text())
    assert result["documents"] == 30 and result["beam_runner"] == "DirectRunner"
    assert result["beam_options"] == ["--direct_num_workers=1"]
    assert sorted(path.name for path in here.iterdir()) == ["beam", "in", "local", "vocab.txt"]


def all_bytes(folder):
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "result.json"
    }
    content = json.loads(files["corpus.json"])
    del content["report"]["seconds"], content["digest"]
    return files | {"corpus.json": content}


def test_beam_is_not_imported_without_its_flag(here):
    for name in ("build_corpus", "learn_vocab"):
        program = f"import sys, experiments.{name}; sys.exit('apache_beam' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--beam_options=--x=1"], "got --beam_options=--x=1 without --beam_runner; expected"),
        (["--beam_start_seconds=9"], "got --beam_start_seconds=9 without --beam_runner; expected"),
        (["--beam_start_seconds=0"], "flag --beam_start_seconds=0: 0 is not a positive integer"),
        (["--beam_bucket=gs://b"], "got --beam_bucket=gs://b without --beam_runner; expected"),
        (["--beam_runner=DirectRunner", "--beam_bucket=b/c"], "got --beam_bucket=b/c; expected gs"),
        (
            ["--beam_runner=DirectRunner", "--beam_bucket=hdfs://b"],
            "got --beam_bucket=hdfs://b, which cannot be read",
        ),
        (["--beam_runner=Nope"], "got Beam runner 'Nope', which is not available"),
        (["--beam_runner=DirectRunner", "--workers=2"], "got --workers with --beam_runner"),
        (["--beam_runner=DirectRunner", "--beam_options=--y=1"], "got Beam option --y, which"),
    ],
)
@pytest.mark.parametrize("experiment", ["build_corpus", "learn_vocab"])
def test_mistakes_about_beam_are_one_line_and_leave_nothing(here, experiment, flags, message):
    pytest.importorskip("apache_beam")
    output = "--data_dir=c" if experiment == "build_corpus" else "--output=v.txt"
    done = run("--input=in", output, *flags, cwd=here, experiment=experiment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and message in done.stderr
    assert sorted(path.name for path in here.iterdir()) == ["in", "vocab.txt"]


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--input=hdfs://h/a.txt"], "got --input=hdfs://h/a.txt, which cannot be read"),
        (["--input=nope"], "got input 'nope', where there is no file; expected python_docs"),
        (["--vocab=nope"], "got vocabulary 'nope', which cannot be read"),
        (["--splitting=space"], "got --splitting='space'; expected words, spaces or a regular"),
        (["--lowercase", "--splitting=spaces"], "got --lowercase=True with --splitting='spaces'"),
        (["--workers=0"], "flag --workers=0: 0 is not a positive integer"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(here, flags, message):
    given = ["--input=in", "--vocab=vocab.txt", "--data_dir=c", *flags]
    given = [flag for flag in given if flag.split("=")[0] != flags[0].split("=")[0]] + flags
    done = run(*given, cwd=here)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and message in done.stderr
    assert sorted(path.name for path in here.iterdir()) == ["in", "vocab.txt"]
