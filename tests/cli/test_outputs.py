"""No command writes over a file that is there, unless told to."""

import re

import pytest

from tests.experiments.runs import REPOSITORY, run_each

# By command, the flags that name what is written, and a file of these that is there already.
OUTPUTS = {
    "predict": [("--checkpoint=x --output=a.jsonl", "a.jsonl")],
    "score_sentences": [("--checkpoint=x --output=s.jsonl", "s.jsonl")],
    "learn_vocab": [
        ("--output=v.txt", "v.txt"), ("--output=w.txt", "w.txt.json"),
        ("--output=x.txt", "x.txt.svg"), ("--output=new.txt --save_word_counts=c.tsv", "c.tsv"),
    ],
    "edit_embeddings": [
        ("--input=x --output=hello.txt", "hello.txt"), ("--input=x --output=t.npz", "t.npz.json"),
        ("--input=x --output=model", "model.json"),
    ],
    "extract_features": [("--checkpoint=x --input=x --output=f.npz", "f.npz")],
    "convert": [("--from=hf --to=d", "d/model")],
    "unpickle": [("--from=hf --to=d", "d/model")],
    "benchmarks.vocabulary_quality": [("--output=q.json", "q.json")],
    "benchmarks.row_lazy": [("--workdir=r", "r/result.json")],
    "benchmarks.audit_cost": [("--workdir=r", "r/result.json")],
    "benchmarks.loader": [("--workdir=r", "r/result.json")],
    "benchmarks.nearest_rows": [("--workdir=r", "r/result.json")],
    "benchmarks.train_step": [("--workdir=r", "r/result.json")],
}  # fmt: skip
FOLDERS = ("convert", "unpickle")  # whole_folder refuses them, once their input has been read


def test_every_command_with_an_output_is_here():
    named = set()
    for path in (REPOSITORY / "experiments").rglob("*.py"):
        if re.search(r'DEFINE_string\(\s*"(output|to|json|save_word_counts)"', path.read_text()):
            named.add(".".join(path.relative_to(REPOSITORY / "experiments").with_suffix("").parts))
    assert named <= OUTPUTS.keys()


@pytest.mark.parametrize("command", [name for name in OUTPUTS if name not in FOLDERS])
def test_a_file_that_is_there_is_not_written_over(command, tmp_path):
    for _, name in OUTPUTS[command]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    cases = [arguments.split() for arguments, _ in OUTPUTS[command]]
    for (_, name), done in zip(OUTPUTS[command], run_each(command, cases, tmp_path), strict=True):
        assert done.status == 2 and done.errors.count("\n") == 1, done
        assert "is already" in done.errors and "--overwrite" in done.errors
        assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize(
    "command, line",
    [
        ("predict", "--checkpoint=x --input=a.jsonl --output=./a.jsonl --overwrite"),
        ("score_sentences", "--checkpoint=x --input=a.jsonl --output=b.jsonl --overwrite"),
        ("extract_features", "--checkpoint=x --input=a.npz --output=a.npz --overwrite"),
    ],
)
def test_what_is_read_is_not_replaced_even_so(command, line, tmp_path):
    for name in ("a.jsonl", "a.npz"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "b.jsonl").symlink_to("a.jsonl")
    (done,) = run_each(command, [line.split()], tmp_path)
    assert done.status == 2 and "which is what is read; expected another name" in done.errors
    assert (tmp_path / "a.jsonl").read_text() == (tmp_path / "a.npz").read_text() == "mine"


def test_overwrite_replaces_it(tmp_path):
    (tmp_path / "text.txt").write_text("the cats like the dogs\n" * 20)
    (tmp_path / "v.txt").write_text("mine")
    usual = ["--input=text.txt", "--vocab_size=40", "--output=v.txt"]
    refused, done = run_each("learn_vocab", [usual, [*usual, "--overwrite"]], tmp_path)
    assert (refused.status, done.status) == (2, 0), done.errors
    assert (tmp_path / "v.txt").read_text().startswith("[PAD]\n")
