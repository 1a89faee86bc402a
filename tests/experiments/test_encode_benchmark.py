"""Mistakes with the benchmark of encoding, each told in one line before anything is computed."""

from tests.experiments.runs import run_each


def test_every_flag_wrong_on_purpose(tmp_path):
    (tmp_path / "lines.txt").write_text("un\n")
    there = ["--checkpoint=hf", "--input=lines.txt"]
    cases = {
        "got no --checkpoint or --input": [],
        "got --input=none.txt, which is not a file": ["--checkpoint=hf", "--input=none.txt"],
        "got --peer_python=none, which is not a file": [*there, "--peer_python=none"],
    }
    for words, done in zip(
        cases, run_each("benchmarks.encode", list(cases.values()), tmp_path), strict=True
    ):
        assert done.status == 2 and words in done.errors and done.errors.count("\n") == 1, done
