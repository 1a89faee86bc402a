import gzip
import json
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from bert_jax.text.tokenizer import Tokenizer

TEXT = "The quick brown fox jumps over the lazy dog. Foxes and dogs; quickly, lazily!\n\n" * 50


def learn(*flags):
    command = [sys.executable, "-m", "experiments.learn_vocab", *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text(TEXT)
    (tmp_path / "text" / "b.txt").write_text("Ünïcode, too. " * 40)
    return tmp_path / "text"


def test_writes_a_vocabulary_its_record_and_a_plot_and_reuses_the_counts(text, tmp_path):
    out = tmp_path / "vocab.txt"
    ran = learn(
        f"--input={text}",
        "--vocab_size=90",
        f"--output={out}",
        f"--save_word_counts={tmp_path}/words.tsv",
        "--coverage=1",
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    record = json.loads((tmp_path / "vocab.txt.json").read_text())
    assert len(record["gains"]) == len(record["sizes"])
    assert record["source_bytes"] == len(TEXT) + len("Ünïcode, too. ".encode()) * 40
    ET.parse(tmp_path / "vocab.txt.svg")
    tokenizer = Tokenizer.from_file(str(out))
    assert tokenizer.vocab_hash == record["vocab_hash"]
    assert tokenizer.encode("the lazy fox").tokens == ["[CLS]", "the", "lazy", "fox", "[SEP]"]

    (text / "a.txt").rename(tmp_path / "a.txt")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(TEXT.encode()))
    again = tmp_path / "again.txt"
    ran = learn(
        f"--word_counts={tmp_path}/words.tsv",
        "--vocab_size=90",
        f"--output={again}",
        "--coverage=1",
    )
    assert ran.returncode == 0, ran.stderr
    unpacked = tmp_path / "unpacked.txt"  # through gzip, and the files in another order
    ran = learn(
        f"--input={tmp_path}/a.txt.gz",
        f"--input={text}/b.txt",
        "--vocab_size=90",
        f"--output={unpacked}",
        "--coverage=1",
    )
    assert ran.returncode == 0, ran.stderr
    assert again.read_text() == unpacked.read_text() == out.read_text()


def test_beam_learns_the_same_vocabulary(text, tmp_path):
    pytest.importorskip("apache_beam")
    for name, flags in (("here", []), ("beam", ["--beam_runner=DirectRunner"])):
        out = f"--output={tmp_path}/{name}.txt"
        ran = learn(f"--input={text}", "--vocab_size=90", "--coverage=1", out, *flags)
        assert (ran.returncode, ran.stderr) == (0, "")
    assert (tmp_path / "here.txt").read_text() == (tmp_path / "beam.txt").read_text()
    here, beam = (json.loads((tmp_path / f"{n}.txt.json").read_text()) for n in ("here", "beam"))
    for record in (here, beam):
        for measured in ("seconds_counting", "seconds_learning", "peak_rss_bytes"):
            del record[measured]
    assert here == beam


def test_of_text_that_is_cut_already_the_parts_are_the_pieces(text, tmp_path):
    out = tmp_path / "vocab.txt"
    ran = learn(f"--input={text}", "--splitting=o.|[A-Z]", "--min_count=100", f"--output={out}")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert out.read_text().split("\n")[5:] == ["og", "ox", ""]  # a hundred times each
    assert {path.name for path in tmp_path.iterdir()} == {"text", "vocab.txt", "vocab.txt.json"}


def test_mistakes_are_one_line_and_leave_nothing_behind(text, tmp_path):
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "image.txt").write_bytes(b"\x89PNG\0\0")
    out = tmp_path / "out"
    out.mkdir()
    cases = {
        (f"--input={tmp_path}/empty.txt",): "without a word",
        (f"--input={text}", "--vocab_size=7"): "got vocabulary size 7; expected at least",
        (f"--input={text}", "--splitting=space"): "got --splitting='space'; expected words, spaces",
        (f"--input={text}", "--min_count=0"): "flag --min_count=0",
        (f"--input={text}", "--min_count=2"): "got --min_count=2 for --splitting='words'; expected",
        (f"--input={tmp_path}/image.txt",): "holds bytes of value 0",
        (f"--input={text}", f"--output={tmp_path}/absent/vocab.txt"): "cannot write",
    }
    for flags, line in cases.items():
        ran = learn(f"--output={out}/vocab.txt", *flags)
        assert ran.returncode == 2, ran.stderr
        assert line in ran.stderr
        assert ran.stderr.count("\n") == 1, ran.stderr
        assert list(out.iterdir()) == []
