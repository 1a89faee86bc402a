"""The command: what it writes for a run, and every flag wrong on purpose."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from bert_jax.convert.ours import save_ours
from bert_jax.tables.embedding_tables import EmbeddingTables
from bert_jax.tables.storage import load_tables, save_tables
from tests.analysis.inspectable import COLOURS, PIECES, audit, checkpoint
from tests.faults.runs import REPOSITORY

# One process for all cases, since importing jax takes seconds: in the flags, out what happened.
_ALL_CASES = """
import contextlib, io, json, sys
from absl.testing import flagsaver
from bert_jax.cli import command
from experiments import inspect_embeddings
outcomes = []
for arguments in json.load(sys.stdin):
    sys.argv, errors, status = ["inspect_embeddings.py", *arguments], io.StringIO(), 0
    with flagsaver.flagsaver(), contextlib.redirect_stderr(errors):
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                command.run(inspect_embeddings.main)
            except SystemExit as stopped:
                status = stopped.code
    outcomes.append([status, errors.getvalue()])
print(json.dumps(outcomes))
"""

CASES = {
    "--checkpoint=": "got no --checkpoint; expected one",
    "--checkpoint=./nowhere": "got './nowhere', which does not exist",
    "--checkpoint=text": "got text, which is not a checkpoint",
    "--workdir=run": "got --workdir=run, which holds a training run; expected a directory of its",
    "--workdir=pairs.tsv/look": "got --workdir=pairs.tsv/look, which cannot be written",
    "--similarity=nowhere.tsv": "got 'nowhere.tsv', which cannot be read as text",
    "--similarity=pairs.tsv,broken.tsv": "in line 2 of broken.tsv; expected two texts and a number",
    "--sts=broken.tsv": "in line 2 of broken.tsv",
    "--analogies=nowhere.txt": "got 'nowhere.txt', which cannot be read as text",
    "--analogies=groups.txt": "got 3 words in line 1 of groups.txt; expected 4",
    "--outliers=empty.txt": "got empty.txt, which holds no words",
    "--outliers=few.txt": "got 2 words in line 1 of few.txt; expected at least 3",
    "--corpus=nowhere.txt": "got input 'nowhere.txt', where there is no file",
    "--vocab=nowhere.txt": "got vocabulary 'nowhere.txt', which cannot be read",
    "--vocab=long.txt": "got 65 pieces for a token table of 55 rows",
    "--compare=text": "got text, which is not a checkpoint",
    "--compare=stranger": "got --compare=stranger, whose vocabulary shares 0 pieces",
    "--neighbours=0": "flag --neighbours=0: 0 is not a positive integer",
    "--min_count=-1": "flag --min_count=-1",
    "--min_count=100000": "got --min_count=100000, which leaves 0 pieces; expected a lower minimum",
    "--layer=3": "got --layer=3; expected 0, the input representation, to 2, the last",
    "--sts=pairs.tsv --checkpoint=tables.npz": "got --sts with --checkpoint=tables.npz, which hold",
    "--layer=last": "got --layer=last; expected a whole number",
    "--occurrences=0": "flag --occurrences=0",
    "--text=" + "cat " * 40: "got a text that needs row 41 of the position table",
    "--projector=perhaps": "flag --projector=perhaps",
    "--word=cat": "Unknown command line flag 'word'",
    "words": "got 'words' besides the flags",
}


def run(folder, lines):
    done = subprocess.run(
        [sys.executable, "-c", _ALL_CASES], input=json.dumps(lines), cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "JAX_NUM_CPU_DEVICES": "1"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run with two checkpoints and an audit, text, and files that are right and wrong."""
    folder = tmp_path_factory.mktemp("inspect")
    for step in (1, 2):
        save_ours(checkpoint(step), folder / "run" / "checkpoints" / str(step))
    np.savez(folder / "run" / "audit.npz", **audit())
    stranger = checkpoint(3)
    strange = type(stranger.tokenizer)([*PIECES[:5], *(f"{p}~" for p in PIECES[5:])])
    save_ours(
        type(stranger)(stranger.config, stranger.params, "BertModel", tokenizer=strange),
        folder / "stranger",
    )
    save_tables(load_tables(folder / "run"), folder / "tables.npz")
    narrow = {
        name: {part: array[..., :8] for part, array in table.items()}
        for name, table in stranger.params["bert"]["embeddings"].items()
    }
    save_tables(EmbeddingTables.from_params(narrow, stranger.tokenizer), folder / "narrow.npz")
    (folder / "text").mkdir()
    words = [*PIECES[5:10], *COLOURS]
    draw = np.random.default_rng(0)
    for number in range(3):
        text = " ".join(words[i] for i in draw.integers(0, 10, 300))
        (folder / "text" / f"{number}.txt").write_text(text)
    pairs = "cat\tdog\t9\nred\tblue\t8\ncat\tred\t1\ncow\tgrey\t2\nzebrañ\tpig\t7\n"
    (folder / "pairs.tsv").write_text(pairs)
    (folder / "broken.tsv").write_text("cat\tdog\t9\nred\tblue\n")
    (folder / "groups.txt").write_text("cat dog red\n")
    (folder / "four.txt").write_text("cat dog red blue\n")
    (folder / "few.txt").write_text("cat dog\n")
    (folder / "empty.txt").write_text("\n: heading\n")
    (folder / "long.txt").write_text("".join(f"{p}\n" for p in [*PIECES, *"0123456789"]))
    return folder


@pytest.fixture(scope="module")
def outcomes(folder):
    """What each case printed, and what it left behind; the last two are right."""
    usual = {"checkpoint": "run/checkpoints/2", "corpus": "text", "min_count": 0}
    lines = []
    for number, wrong in enumerate(CASES):
        name = wrong.removeprefix("--").split("=")[0]
        given = {"workdir": f"look{number}", **usual}
        lines.append(
            [f"--{k}={v}" for k, v in given.items() if k != name] + re.split(" (?=--)", wrong)
        )
    lines.append(
        ["--checkpoint=run", "--workdir=look", "--corpus=text", "--min_count=0",
         "--words=cat,dogs", "--similarity=pairs.tsv", "--sts=pairs.tsv", "--analogies=four.txt",
         "--outliers=groups.txt", "--compare=run", "--text=a cat", "--pair=a dog"]
    )  # fmt: skip
    lines.append(
        ["--checkpoint=tables.npz", "--workdir=alone", "--corpus=text", "--min_count=0",
         "--words=cat,dogs", "--similarity=pairs.tsv", "--compare=narrow.npz", "--noprojector"]
    )  # fmt: skip
    found = run(folder, lines)
    left = [(folder / f"look{number}").exists() for number in range(len(CASES))]
    for status, printed in (found.pop(), found.pop()):
        assert status == 0, printed
    return dict(zip(CASES, zip(found, left, strict=True), strict=True))


@pytest.mark.parametrize("wrong", CASES)
def test_it_is_one_line_and_nothing_half_written_stays(outcomes, wrong):
    (status, printed), left = outcomes[wrong]
    assert status == 2, printed
    assert CASES[wrong] in printed
    lines = [line for line in printed.splitlines() if "elapsed" not in line]
    assert len(lines) == 1 and lines[0].startswith("experiments.inspect_embeddings: ")
    assert left is False


@pytest.fixture(scope="module")
def result(outcomes, folder):
    return json.loads((folder / "look" / "result.json").read_text())


def test_the_numbers_are_those_of_the_tables(result):
    assert list(result)[:14] == [
        "overview", "input", "geometry", "neighbours", "unlearned", "similarity",
        "sentences", "positions", "segments", "first_attention", "contextuality", "updates",
        "comparison", "timeline",
    ]  # fmt: skip
    assert result["overview"]["tables"] == {"token": [55, 16], "segment": [2, 16],
                                            "position": [32, 16]}  # fmt: skip
    assert result["input"]["pieces"] == ["[CLS]", "a", "cat", "[SEP]", "a", "dog", "[SEP]"]
    assert result["input"]["segments"] == [0, 0, 0, 0, 1, 1, 1]
    assert sum(result["input"]["variance_shares"].values()) == pytest.approx(1)
    near = [one["piece"] for one in result["neighbours"]["words"]["cat"][:4]]
    assert sorted(near) == ["cow", "dog", "hen", "pig"]
    assert len(result["neighbours"]["words"]["dogs"]) == 8  # dog ##s
    assert result["neighbours"]["outliers"][0]["outlier"] == "red"
    assert result["neighbours"]["analogies"]["of"] == 1
    raw = result["similarity"]["pairs"]["token table, raw"]
    assert (raw["pairs"], raw["of"], raw["coverage"]) == (4, 5, 0.8)  # one word is [UNK]
    assert raw["rho"] > 0.5
    assert len(result["similarity"]["pairs"]["by_layer"]) == 3
    assert len(result["sentences"]["pairs"]["mean"]) == 3
    assert result["contextuality"]["words"] == 10
    assert result["positions"]["read"]["sinusoid"]["absolute"] < 1
    assert result["positions"]["read"]["random"]["ridge"] > 4  # of 32 positions: 8 is chance
    assert result["first_attention"]["texts"] > 10
    assert result["updates"] == {
        "steps": 60,
        "changed": {"median": 60, "percentile_5": 60, "never": 0},
        "as_input": {"median": 27, "percentile_5": 2.7, "never": 1},
        "mean_drift_seen": pytest.approx(2.75),
        "mean_drift_unseen": 0,
    }
    assert result["comparison"]["mean_cosine"] == pytest.approx(1)  # it was compared with itself
    assert [m["step"] for m in result["timeline"]["moments"]] == [1, 2]
    assert result["timeline"]["moments"][1]["cosine_to_last"] == pytest.approx(1)


def test_tables_alone_tell_the_same_but_for_what_needs_an_encoder(result, folder):
    alone = json.loads((folder / "alone" / "result.json").read_text())
    assert alone["overview"]["architecture"] is None
    for part in ("geometry", "neighbours", "positions", "segments"):
        for name in set(alone[part]) - {"analogies", "outliers"}:
            assert alone[part][name] == result[part][name], (part, name)
    assert alone["similarity"]["pairs"]["token table, raw"]["coverage"] == 0.8
    assert "by_layer" not in alone["similarity"]["pairs"]
    assert alone["comparison"]["rows"] == 50 and alone["comparison"]["mean_cosine"] is None
    assert not {"contextuality", "timeline", "updates", "sentences"} & set(alone)
    assert not (folder / "alone" / "projector").exists()


def test_beside_the_numbers_lie_the_page_and_the_projectors_files(result, folder):
    page = (folder / "look" / "report.html").read_text()
    assert len(page.encode()) == result["report_bytes"]
    assert page.count("<section") == 14
    metadata = (folder / "look" / "projector" / "token.tsv").read_text().splitlines()
    assert metadata[0] == "piece\tkind\tfrequency\tupdates\tsteps as input"
    assert metadata[6].startswith("cat\tword\t") and metadata[6].endswith("\t60\t5")
    assert json.loads((folder / "look" / "config.json").read_text())["checkpoint"] == "run"
